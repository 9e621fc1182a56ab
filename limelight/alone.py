"""A head that runs alone, for one captured pass: recorded once a network, checked against the pass each time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limelight.cut import Captured
from limelight.recording import pick_up, trace
from limelight.traced import Borrowed, Traced, Untraceable, Weight

_traces: WeakKeyDictionary[nn.Module, dict[Any, Traced | None]] = WeakKeyDictionary()
_lock = threading.Lock()


@dataclass(frozen=True)
class Alone:
    """A recorded head with what it needs from one pass; run from step ``first`` on, on the value of ``slot``."""

    captured: Captured
    k: int
    traced: Traced
    trunk: dict[Any, Tensor]
    graph: bool
    first: int = 0
    slot: int = 0

    @property
    def row_bytes(self) -> int:
        """Bytes that an image takes while it runs, with the altered activations and what they are made of."""
        return self.traced.row_bytes(self.graph, self.first) + 2 * self.traced.memory[self.slot][1]

    def outputs(self, value: Tensor) -> Any:
        """The network's outputs; the batch may be a multiple of the captured one, repeated as a block."""
        values = {self.slot: value}
        self.traced.run(values, self.trunk, len(value), range(self.first, len(self.traced.steps)))
        return self.answer(values, len(value))

    def answer(self, values: dict[int, Tensor], rows: int) -> Any:
        """The network's outputs from the values that its last steps gave."""
        leaves, tree = pytree.tree_flatten(self.captured.outputs)
        times = rows // len(self.captured.activations[self.k])
        return pytree.tree_unflatten(
            [
                _as_often(leaf, times) if output is None else values[output.number]
                for leaf, output in zip(leaves, self.traced.outputs, strict=True)
            ],
            tree,
        )

    def after_channels(self, *activations: Tensor) -> tuple[Any, ...]:
        """This head after the operations that treat each channel on its own.

        Returns:
            the shorter head, what it starts from for each of the activations, and the dimension of the channels there.
        """
        first, slot, dimension = channels_apart(self.traced, self.captured.activations[self.k])
        after = []
        for each in activations:
            values = {0: each}
            self.traced.run(values, self.trunk, len(each), range(first))
            after.append(values[slot])
        return replace(self, first=first, slot=slot), *after, dimension


def alone(captured: Captured, k: int, graph: bool, worth: bool) -> Alone | None:
    """The head of a captured pass, to run alone, or None if it can't, or is not ``worth`` recording.

    What was recorded is remembered, weakly, for the network, and checked against every new pass: where it does
    not give the pass's own outputs (the network was changed), it is recorded anew.
    """
    key = (Alone, k, graph)
    if key not in captured.remembered:
        known = _traces.setdefault(captured.cut.network, {})
        kind = _kind(captured, k, graph)
        found = _checked(captured, k, graph, known.get(kind))
        if not found:
            if not worth:
                return None
            with _lock:
                try:
                    known[kind] = trace(captured, k, graph)
                except Untraceable:
                    known[kind] = None
            found = _checked(captured, k, graph, known[kind])
        # Not the head itself, which holds the pass: a circle would keep it until the garbage collector comes by.
        captured.remembered[key] = (found.traced, found.trunk) if found else None
    parts = captured.remembered[key]
    if not parts:
        return None
    recorded, trunk = parts
    return Alone(captured, k, recorded, trunk, graph)


def _checked(captured: Captured, k: int, graph: bool, traced: Traced | None) -> Alone | None:
    """The recorded head with what it needs of this pass, if it gives this pass's outputs."""
    if traced is None:
        return None
    try:
        head = Alone(captured, k, traced, pick_up(captured, k, traced.borrowed, graph), graph)
        with torch.no_grad():
            own = head.outputs(captured.activations[k].detach())
    except Exception:  # whatever it is: the whole network, or a new recording, answers instead
        return None
    pairs = zip(pytree.tree_leaves(own), pytree.tree_leaves(captured.outputs), strict=True)
    return head if all(_same(a, b) for a, b in pairs if isinstance(b, Tensor)) else None


def _same(answer: Tensor, truth: Tensor) -> bool:
    if answer.shape != truth.shape or answer.dtype != truth.dtype:
        return False
    if not truth.is_floating_point():
        return torch.equal(answer, truth)
    tolerance = 1e-4 if truth.dtype in (torch.float32, torch.float64) else 3e-2
    scale = float(truth.detach().abs().max()) if truth.numel() else 0.0
    return torch.allclose(answer, truth, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _kind(captured: Captured, k: int, graph: bool) -> Any:
    """What a recording depends on beside the network and the number of images."""

    def facts(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return repr(leaf)
        return (*leaf.shape[1:], leaf.dtype, leaf.device, leaf.stride()[1:])

    leaves = (*pytree.tree_leaves(captured.inputs), captured.activations[k])
    return str(captured.sites[k]), graph, captured.autocast, *map(facts, leaves)


def _as_often(leaf: Any, times: int) -> Any:
    return leaf.repeat(times, *[1] * (leaf.ndim - 1)) if isinstance(leaf, Tensor) and leaf.ndim else leaf


# ---- the operations that treat each channel on its own


def channels_apart(traced: Traced, like: Tensor) -> tuple[int, int, int]:
    """The longest beginning of the head that treats each channel on its own: ``(steps, slot, dimension)``.

    It gives the value of that slot, with the channels in that dimension. Found by trying it: for such operations f and
    any choice of channels, f(a here, b there) is f(a) here and f(b) there. Tried on random numbers, for operations
    that are the same whatever the weights: none takes a weight that could mix channels, none anything of the trunk.
    """
    if "channels_apart" not in traced.__dict__:
        traced.__dict__["channels_apart"] = _channels_apart(traced, like)
    return traced.__dict__["channels_apart"]


def _channels_apart(traced: Traced, like: Tensor, rows: int = 16) -> tuple[int, int, int]:
    channels = like.shape[1]
    random = torch.Generator().manual_seed(0)
    chosen = torch.rand(rows, channels, generator=random).to(like.device) < 0.5
    ones, others = (torch.randn(rows, *like.shape[1:], generator=random).to(like) for _ in range(2))
    tried = [{0: ones}, {0: others}, {0: torch.where(_along(chosen, 1, like.ndim), ones, others)}]
    found = (0, 0, 1)
    for number, step in enumerate(traced.steps):
        if any(_may_mix(leaf, channels) for leaf in step.leaves):
            break
        for values in tried:
            traced.run(values, {}, rows, range(number, number + 1))
        if len(tried[0]) != 1:
            continue
        ((slot, here),), ((_, there),), ((_, mixed),) = (values.items() for values in tried)
        dimensions = [d for d in range(1, here.ndim) if here.shape[d] == channels] if len(here) == rows else []
        apart = [d for d in dimensions if torch.equal(torch.where(_along(chosen, d, here.ndim), here, there), mixed)]
        if not apart:
            break
        found = (number + 1, slot, apart[0])
    return found


def _may_mix(leaf: Any, channels: int) -> bool:
    return isinstance(leaf, Borrowed) or (isinstance(leaf, Weight) and leaf.value().shape != (channels,))


def _along(chosen: Tensor, dimension: int, dimensions: int) -> Tensor:
    """``(rows, channels)`` -> the channels in the given dimension of as many, ready to broadcast."""
    return chosen.view(len(chosen), *[1] * (dimension - 1), -1, *[1] * (dimensions - 1 - dimension))
