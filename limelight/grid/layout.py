"""A layout: where a layer's tensor holds which cell, as one line of text and as the two functions that it stands for.

The line names the tensor's axes from left to right, as einops does: ``batch channels height width`` for a convolution,
``batch height width channels`` for channels last, ``batch (1 + height width) channels`` for tokens with one class token
before them. Names in parentheses lie in one axis, the outermost first. A number is so many extra tokens, before or
after the cells. A digit splits a name: ``(batch height1 width1) (height2 width2) channels`` are windows, where
``height1`` counts the windows and ``height2`` the rows of one. A size may be given: ``height=14``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from limelight.errors import LayerError

GRID = ("time", "depth", "height", "width", "length")
"""The names that a grid's dimensions can have, in the order they take in ``(batch, channels, *grid)``."""
NAMES = ("batch", "channels", *GRID)

_WORD = re.compile(rf"({'|'.join(NAMES)})(\d?)(?:=(\d+))?")
_AXIS = re.compile(r"\(([^()]*)\)|([^\s()]+)")


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor: what lies in it, outermost first, and how many extra tokens stand before and after."""

    factors: tuple[str, ...]
    before: int = 0
    after: int = 0

    def __str__(self) -> str:
        inside = " + ".join(map(str, filter(None, (self.before, " ".join(self.factors), self.after))))
        return inside if len(self.factors) == 1 and inside == self.factors[0] else f"({inside})"


@dataclass(frozen=True)
class Layout:
    """Where a tensor's cells are.

    Attributes:
        axes: the tensor's axes, left to right.
        sizes: the sizes that are known, by name; :meth:`fit` finds the others from a tensor's shape.
    """

    axes: tuple[Axis, ...]
    sizes: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Layout:
        """The layout that a line of text stands for.

        Raises:
            LayerError: it is no such line.
        """
        axes, sizes, end = [], {}, 0
        for found in _AXIS.finditer(text):
            if text[end : found.start()].strip():
                break
            end = found.end()
            axes.append(_axis(found[1] if found[2] is None else found[2], text, sizes))
        if text[end:].strip():
            raise _unreadable(text, f"{text[end:].strip()!r} is not understood")
        names = [name for axis in axes for name in axis.factors]
        bases = {base_of(name) for name in names}
        if len(set(names)) < len(names):
            raise _unreadable(text, "a name stands in it twice")
        if not {"batch", "channels"} <= bases or not bases & set(GRID):
            raise _unreadable(text, f"it needs batch, channels and at least one of {', '.join(GRID)}")
        if sum(axis.before + axis.after > 0 for axis in axes) > 1:
            raise _unreadable(text, "extra tokens can stand in one axis only")
        return cls(tuple(axes), tuple(sizes.items()))

    @classmethod
    def of(cls, text: str, **sizes: int) -> Layout:
        """A layout with the sizes of its grid, as this room makes them."""
        parsed = cls.parse(text)
        return replace(parsed, sizes=tuple({**dict(parsed.sizes), **sizes}.items()))

    def __str__(self) -> str:
        return " ".join(map(str, self.axes))

    @property
    def line(self) -> str:
        """The line that stands for it, with the sizes that a shape does not give: those of windows."""
        words = str(self)
        for name, size in self.sizes:
            words = re.sub(rf"\b{name}\b", f"{name}={size}", words) if name[-1] == "2" else words
        return words

    @cached_property
    def plain(self) -> bool:
        """Whether it is ``batch channels *grid`` as it stands."""
        names = [axis.factors for axis in self.axes]
        return names == [(name,) for name in ("batch", "channels", *self.dimensions)] and not self.extra

    @cached_property
    def unfolded(self) -> bool:
        """Whether images, channels and each dimension of the grid have an axis of their own, with nothing beside."""
        return all(len(axis.factors) == 1 for axis in self.axes) and not self.extra

    @cached_property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the grid's dimensions, in their order."""
        bases = {base_of(name) for axis in self.axes for name in axis.factors}
        return tuple(name for name in GRID if name in bases)

    @property
    def extra(self) -> int:
        """How many tokens are no cells."""
        return sum(axis.before + axis.after for axis in self.axes)

    @property
    def prefix(self) -> int:
        """How many of them stand before the cells."""
        return sum(axis.before for axis in self.axes)

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """The grid's shape."""
        return tuple(self._total(name) for name in self.dimensions)

    @cached_property
    def channels(self) -> int:
        """How many channels there are."""
        return self._total("channels")

    @cached_property
    def batch_axis(self) -> int:
        """The axis that the images lie in."""
        return next(i for i, axis in enumerate(self.axes) if "batch" in axis.factors)

    def has_channels(self, axis: int) -> bool:
        """Whether channels, or some of them, lie in an axis."""
        return any(base_of(name) == "channels" for name in self.axes[axis].factors)

    @cached_property
    def by_image(self) -> bool:
        """Whether the tensor's first axis counts the images and nothing else."""
        return self.axes[0].factors == ("batch",)

    def read(self, tensor: Tensor) -> Tensor:
        """The cells of a tensor laid out so: ``(batch, channels, *grid)``, a view where that is possible."""
        if self.plain:
            return tensor
        for d, axis in enumerate(self.axes):
            if axis.before or axis.after:
                tensor = tensor.narrow(d, axis.before, tensor.shape[d] - axis.before - axis.after)
        return tensor.reshape(self._unfolded(-1)).permute(self._order).reshape(-1, self.channels, *self.grid)

    def write(self, cells: Tensor, own: Tensor) -> Tensor:
        """The inverse: ``(times * batch, channels, *grid)`` laid out so, differentiably.

        Args:
            cells: what the cells are to be, for the batch of ``own`` repeated as a block.
            own: the layer's own tensor, whose extra tokens stay as they are.
        """
        if self.plain:
            return cells
        images, order = len(cells), self._order
        unfolded = self._unfolded(images)
        back = [order.index(i) for i in range(len(order))]
        tensor = cells.reshape([unfolded[i] for i in order]).permute(back)
        tensor = tensor.reshape([self._inside(axis, images) for axis in self.axes])
        for d, axis in enumerate(self.axes):
            if axis.before or axis.after:
                times = [1] * own.ndim
                times[self.batch_axis] = tensor.shape[self.batch_axis] // own.shape[self.batch_axis]
                extra = own.repeat(times).to(tensor.dtype)
                before = extra.narrow(d, 0, axis.before)
                after = extra.narrow(d, extra.shape[d] - axis.after, axis.after)
                tensor = torch.cat([before, tensor, after], dim=d)
        return tensor

    def fit(self, shape: Sequence[int], batch: int, grids: Iterable[Sequence[int]] = ()) -> Layout | None:
        """The layout with every size known, of a tensor of this shape that holds ``batch`` images; None if it can't be.

        Where the shape leaves the grid open (tokens lie in one axis), the first of ``grids`` that fits is taken.
        """
        if len(shape) != len(self.axes):
            return None
        for grid in ((), *grids):
            totals = dict(zip(self.dimensions, grid, strict=True)) if len(grid) == len(self.dimensions) else {}
            if sizes := self._solved(shape, batch, totals):
                return replace(self, sizes=tuple((name, size) for name, size in sizes.items() if name != "batch"))
        return None

    def _solved(self, shape: Sequence[int], batch: int, totals: dict[str, int]) -> dict[str, int] | None:
        """Every name's size, or None if the shape contradicts or leaves one open."""
        sizes = {**dict(self.sizes), "batch": batch}
        products = [(axis.factors, n - axis.before - axis.after) for axis, n in zip(self.axes, shape, strict=True)]
        products += [(self._levels(name), total) for name, total in totals.items()]
        for _ in products:
            for names, product in products:
                unknown = [name for name in names if name not in sizes]
                known = math.prod(sizes[name] for name in names if name in sizes)
                if len(unknown) == 1 and known > 0 and product > 0 and product % known == 0:
                    sizes[unknown[0]] = product // known
        whole = all(name in sizes for axis in self.axes for name in axis.factors)
        return sizes if whole and all(math.prod(sizes[n] for n in names) == p for names, p in products) else None

    def _levels(self, base: str) -> tuple[str, ...]:
        return tuple(sorted(name for axis in self.axes for name in axis.factors if base_of(name) == base))

    def _total(self, base: str) -> int:
        sizes = dict(self.sizes)
        return math.prod(sizes[name] for name in self._levels(base))

    def _inside(self, axis: Axis, images: int) -> int:
        sizes = {**dict(self.sizes), "batch": images}
        return math.prod(sizes[name] for name in axis.factors)

    def _unfolded(self, images: int) -> list[int]:
        sizes = {**dict(self.sizes), "batch": images}
        return [sizes[name] for axis in self.axes for name in axis.factors]

    @cached_property
    def _order(self) -> list[int]:
        """The unfolded axes in the order of ``(batch, channels, *grid)``."""
        names = [name for axis in self.axes for name in axis.factors]
        return sorted(range(len(names)), key=lambda i: (NAMES.index(base_of(names[i])), names[i]))


def base_of(name: str) -> str:
    """A name without the digit that splits it."""
    return name.rstrip("0123456789")


def _axis(text: str, whole: str, sizes: dict[str, int]) -> Axis:
    parts = [part.strip() for part in text.split("+")]
    cells = [i for i, part in enumerate(parts) if not part.isdecimal()]
    if len(cells) != 1 or not parts[cells[0]]:
        raise _unreadable(whole, f"{text.strip()!r} is not understood")
    factors = []
    for word in parts[cells[0]].split():
        found = _WORD.fullmatch(word)
        if not found:
            raise _unreadable(whole, f"{word!r} is none of {', '.join(NAMES)}")
        factors.append(found[1] + found[2])
        if found[3]:
            sizes[factors[-1]] = int(found[3])
    before, after = sum(map(int, parts[: cells[0]])), sum(map(int, parts[cells[0] + 1 :]))
    return Axis(tuple(factors), before, after)


def _unreadable(text: str, why: str) -> LayerError:
    return LayerError(
        f"layout {text!r}: {why}; name the tensor's axes from left to right, such as "
        "'batch height width channels' or 'batch (1 + height width) channels'"
    )
