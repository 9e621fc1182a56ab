"""The head as a list of operations, so that it can run alone.

The operations are those that the dispatcher saw below autograd (:mod:`limelight.recording`), so the list can be
differentiated, and in-place operations and views alias each other as they did. Weights are referred to by module and
name, never copied.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils import _pytree as pytree


class Untraceable(Exception):
    """The network can't be recorded, or what was recorded does not answer as the network does."""


class Slot(NamedTuple):
    """A value that the head computes."""

    number: int


class Weight(NamedTuple):
    """A parameter or buffer of the network, looked up when it is used."""

    module: weakref.ref[nn.Module]
    name: str

    def value(self) -> Tensor:
        """What it is now."""
        module = self.module()
        tensor = None if module is None else module._parameters.get(self.name, module._buffers.get(self.name))
        if tensor is None:
            raise Untraceable(f"'{self.name}' is no longer there")
        return tensor.detach()


class Borrowed(NamedTuple):
    """A value of the trunk: argument ``leaf`` of the network's operation number ``operation``."""

    operation: int
    leaf: int
    shape: tuple[Any, ...]


class Rows(NamedTuple):
    """A number that follows the batch: ``each`` an image, and ``fixed``."""

    each: int
    fixed: int

    def of(self, rows: int) -> int:
        """What it is for so many images."""
        return self.each * rows + self.fixed


class Step(NamedTuple):
    """One operation: its arguments as the leaves of a tree, and the slots of its results."""

    operation: Any
    leaves: tuple[Any, ...]
    tree: pytree.TreeSpec
    results: tuple[int | None, ...]


@dataclass(frozen=True)
class Traced:
    """The head, recorded.

    Attributes:
        steps: its operations in order; slot 0 is the layer's output.
        outputs: the network's outputs as leaves: slots, or None for what does not depend on the layer.
        changed: whether the network changes the layer's output in place.
        memory: which memory each slot's value lies in, and how many bytes an image that takes; views share theirs.
    """

    steps: tuple[Step, ...]
    outputs: tuple[Slot | None, ...]
    changed: bool
    memory: dict[int, tuple[int, int]] = field(repr=False)

    @property
    def borrowed(self) -> list[Borrowed]:
        """What it needs from the trunk beside the layer's output."""
        return [leaf for step in self.steps for leaf in step.leaves if isinstance(leaf, Borrowed)]

    def run(self, values: dict[int, Tensor], trunk: dict[Any, Tensor], rows: int, steps: range | None = None) -> None:
        """Run the steps (all of them) on ``values``, by slot, which then hold what is still to be used."""
        if self.changed and 0 in values:
            values[0] = values[0].clone()
        for number in range(len(self.steps)) if steps is None else steps:
            self.do(number, values, trunk, rows)
            for used in self.last_uses[number]:
                values.pop(used, None)

    def do(self, number: int, values: dict[int, Tensor], trunk: dict[Any, Tensor], rows: int) -> None:
        """Run one step on ``values``, by slot."""
        operation, leaves, tree, results = self.steps[number]
        args, kwargs = pytree.tree_unflatten([_value(leaf, values, trunk, rows) for leaf in leaves], tree)
        result = operation(*args, **kwargs)
        if isinstance(result, Tensor):
            values[results[0]] = result  # type: ignore[index]
            return
        for place, value in zip(results, pytree.tree_leaves(result), strict=True):
            if place is not None:
                values[place] = value

    def row_bytes(self, graph: bool, first: int = 0) -> int:
        """Bytes an image that live at once from step ``first`` on; with a graph, everything lives to the end."""
        if graph:
            return sum(dict(self.memory.values()).values())
        live, most = {0}, 0
        for number, step in enumerate(self.steps):
            live |= {result for result in step.results if result is not None}
            if number >= first:
                most = max(most, sum(dict(self.memory[slot] for slot in live).values()))
            live -= set(self.last_uses[number])
        return most

    @cached_property
    def last_uses(self) -> list[list[int]]:
        """For each step the slots that no later step and no output uses."""
        last: dict[int | None, int] = {}
        for number, step in enumerate(self.steps):
            used = [leaf.number for leaf in step.leaves if isinstance(leaf, Slot)]
            last |= dict.fromkeys([*used, *(result for result in step.results if result is not None)], number)
        for output in self.outputs:
            last.pop(output and output.number, None)
        uses: list[list[int]] = [[] for _ in self.steps]
        for slot, number in last.items():
            uses[number].append(slot)  # type: ignore[arg-type]
        return uses


def _value(leaf: Any, values: dict[int, Tensor], trunk: dict[Any, Tensor], rows: int) -> Any:
    if isinstance(leaf, Slot):
        return values[leaf.number]
    if isinstance(leaf, Weight):
        return leaf.value()
    if isinstance(leaf, Rows):
        return leaf.of(rows)
    return repeated_as(trunk[leaf[:2]], leaf.shape, rows) if isinstance(leaf, Borrowed) else leaf


def repeated_as(tensor: Tensor, shape: Sequence[Any], rows: int) -> Tensor:
    """A value of the captured pass, repeated as a block along the dimensions that follow the batch."""
    wanted = [size.of(rows) if isinstance(size, Rows) else size for size in shape]
    if list(tensor.shape) == wanted:
        return tensor
    times = [
        new // old if isinstance(size, Rows) and old else 1
        for new, old, size in zip(wanted, tensor.shape, shape, strict=True)
    ]
    tensor = tensor.repeat(times)
    if list(tensor.shape) != wanted:
        raise Untraceable(f"a value of the trunk does not follow the batch: {tuple(tensor.shape)} for {wanted}")
    return tensor
