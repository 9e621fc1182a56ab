"""A network is borrowed for a call and given back as it was: modes, hooks, gradients and random state.

Several threads may borrow one network, or parts of it, at once. So what they share (a module's train/eval flag,
torch.compile's stance, a generator's state) is set by the first borrower and put back by the last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from limelight.errors import ModelError

N = TypeVar("N", bound=nn.Module)
NEEDS_A_GRAPH = "cannot register a hook on a tensor", "can't retain_grad on Tensor"
"""What torch says of ``x.register_hook`` and ``x.retain_grad`` where autograd is off."""

_lock = threading.RLock()


class _Loan:
    """How many borrowers there are, and what the last of them does."""

    def __init__(self, give_back: Callable[[], object]):
        self.give_back = give_back
        self.borrowers = 0


class _Held(threading.local):
    """The networks that this thread has borrowed."""

    def __init__(self):
        self.networks: set[nn.Module] = set()


_held = _Held()
_evaluating: WeakKeyDictionary[nn.Module, _Loan] = WeakKeyDictionary()
_shared: dict[Any, _Loan] = {}


def _lend(
    loans: MutableMapping[Any, _Loan], key: Any, take: Callable[[], Callable[[], object]], stack: ExitStack
) -> None:
    """Borrow ``key`` until ``stack`` unwinds: the first borrower takes, and the last calls what taking gave."""
    with _lock:
        if key not in loans:
            loans[key] = _Loan(take())
        loan = loans[key]
        loan.borrowers += 1

    def give_back() -> None:
        with _lock:
            loan.borrowers -= 1
            if not loan.borrowers:
                del loans[key]
                loan.give_back()

    stack.callback(give_back)


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

    Raises:
        ModelError: the network is not finished, so it could not be given back as it was; or it can't run without
            autograd.
    """
    with ExitStack() as stack:
        if network not in _held.networks:  # else this thread has borrowed it already, and there is nothing left to set
            _lend_whole(network, stack)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        try:
            yield
        except RuntimeError as error:
            if not str(error).startswith(NEEDS_A_GRAPH):
                raise
            raise ModelError(
                f"this {type(network).__name__} registers a hook on a tensor, or retains its gradient, as it runs, "
                "which torch refuses where no gradient is recorded: do so only `if x.requires_grad:`"
            ) from error


def twin(network: N) -> N:
    """A copy with weights of its own, to be changed.

    Activations that the network keeps as attributes (and ``weight`` under the old ``weight_norm``) have a graph, with
    which torch copies no tensor: the copy has them without.
    """
    kept = (leaf for module in network.modules() for leaf in pytree.tree_leaves(list(vars(module).values())))
    with borrowed(network):
        return deepcopy(network, {id(x): x.detach().clone() for x in kept if isinstance(x, Tensor) and not x.is_leaf})


def _lend_whole(network: nn.Module, stack: ExitStack) -> None:
    """Everything that has to be set for a network to be run, until ``stack`` unwinds."""
    with _lock:  # between a module's flag and its loan no other borrower may look
        others = bool(_evaluating)
        for module in _modules(network):
            if isinstance(module, LazyModuleMixin) and any(map(is_lazy, module.parameters(False))):
                raise ModelError(
                    f"this {type(network).__name__} has a {type(module).__name__} that no picture has been through, so "
                    "it has no weights yet: run the network once, then train it or load its weights"
                )
            if module.training or (others and module in _evaluating):
                _lend(_evaluating, module, lambda module=module: _to_eval(module), stack)
            if module._compiled_call_impl is not None or "_orig_mod" in module._modules:
                _lend(_shared, "stance", _without_compiling, stack)
    cpu = torch.device("cpu")
    for device in {cpu, next((tensor.device for tensor in network.parameters()), cpu)}:
        if device.type != "meta":
            _lend(_shared, device, lambda device=device: _same_random_state(device), stack)
    _held.networks.add(network)
    stack.callback(_held.networks.discard, network)


def _to_eval(module: nn.Module) -> Callable[[], object]:
    """Put one module into evaluation mode.

    The flag is written module by module: ``network.train()`` may be overridden, and a network is often in both modes
    (a frozen batch norm inside a network that trains).
    """
    module.training = False
    return lambda: setattr(module, "training", True)


def _without_compiling() -> Callable[[], object]:
    """Let compiled modules run as plain ones: a compiled graph passes our hooks by."""
    stance = torch.compiler.set_stance("force_eager")
    stance.__enter__()
    return lambda: stance.__exit__(None, None, None)


def _same_random_state(device: torch.device) -> Callable[[], object]:
    if device.type == "cpu":
        state = torch.get_rng_state()
        return lambda: torch.set_rng_state(state)
    generators = torch.get_device_module(device)
    state = generators.get_rng_state(*([device] if device.type != "mps" else []))
    return lambda: generators.set_rng_state(state, *([device] if device.type != "mps" else []))


def _modules(network: nn.Module) -> list[nn.Module]:
    """``network.modules()`` in a quarter of the time: that is a nest of generators, and this runs at every call."""
    found, waiting = {network}, [network]
    for module in waiting:
        if module._modules:  # most have none
            fresh = [child for child in module._modules.values() if child is not None and child not in found]
            found.update(fresh)
            waiting.extend(fresh)
    return waiting
