"""A network is borrowed for a call and given back as it was: modes, hooks, gradients and random state.

Several threads may borrow one network at once, so what is shared (train/eval flags, torch.compile's stance) is
changed by the first borrower, and put back by the last.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import nn

_lock = threading.Lock()


class _Loan:
    """What the first borrower changed, and how many borrowers there are."""

    def __init__(self, restore: ExitStack):
        self.restore = restore
        self.borrowers = 0


_loans: WeakKeyDictionary[nn.Module, _Loan] = WeakKeyDictionary()
_eager = _Loan(ExitStack())


def unwrap(network: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``.

    The wrappers change how a network runs, not what it computes, and hide its layers from hooks.
    """
    while True:
        if isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        elif isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        else:
            return network


@contextmanager
def borrowed(network: nn.Module) -> Iterator[None]:
    """Run the body with ``network`` in evaluation mode and outside the caller's gradient modes.

    Inside, autograd records nothing unless switched on, also where the caller is in ``inference_mode``. Afterwards, and
    if the body raises, every module's mode and the random state of the CPU and of the network's device are as before.
    May be nested.
    """
    with _in_eval_mode(network), _same_random_state(network), torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def _in_eval_mode(network: nn.Module) -> Iterator[None]:
    with _lock:
        loan = _loans.get(network)
        if loan is None:
            loan = _loans[network] = _Loan(_to_eval(network))
        loan.borrowers += 1
    try:
        yield
    finally:
        with _lock:
            loan.borrowers -= 1
            if not loan.borrowers:
                del _loans[network]
                loan.restore.close()


def _to_eval(network: nn.Module) -> ExitStack:
    """Put every module into evaluation mode, and return what undoes it.

    The flag is written module by module: ``network.train()`` may be overridden, and a network is often in both modes
    (a frozen batch norm inside a network that trains).
    """
    restore = ExitStack()
    for module in _modules(network):
        if module.training:
            module.training = False
            restore.callback(setattr, module, "training", True)
        if module._compiled_call_impl is not None or "_orig_mod" in module._modules:
            restore.enter_context(_without_compiling())
    return restore


def _modules(network: nn.Module) -> list[nn.Module]:
    """``network.modules()`` in a quarter of the time: that is a nest of generators, and this runs at every call."""
    found = {network: None}
    waiting = [network]
    for module in waiting:
        fresh = [child for child in module._modules.values() if child is not None and child not in found]
        found.update(dict.fromkeys(fresh))
        waiting.extend(fresh)
    return waiting


@contextmanager
def _without_compiling() -> Iterator[None]:
    """Let compiled modules run as plain ones: a compiled graph passes our hooks by. Called with the lock held."""
    if not _eager.borrowers:
        _eager.restore.enter_context(torch.compiler.set_stance("force_eager"))
    _eager.borrowers += 1
    try:
        yield
    finally:
        _eager.borrowers -= 1
        if not _eager.borrowers:
            _eager.restore.close()


@contextmanager
def _same_random_state(network: nn.Module) -> Iterator[None]:
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    devices = [device] if device.type not in ("cpu", "meta") else []
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        yield
