"""Which layouts a tensor's shape allows, given the input's size and the grids that were seen before it in the pass.

More than one is left to :mod:`limelight.grid.impulse` to tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from limelight.grid.layout import Layout

EXTRA = 64
"""At most so many tokens are taken for class, register and distillation tokens, beside a grid that was seen."""
EXTRA_UNSEEN = 8
"""The same beside a grid that follows from the input's size alone."""
SLACK = 2
"""By so many cells a grid may miss its share of the input, for want of padding or by its rounding."""

Grid = tuple[int, ...]


def dimensions_of(input_size: Sequence[int]) -> tuple[str, ...]:
    """The names of the input's dimensions."""
    return {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}.get(len(input_size), ())


def channels_first(shape: Sequence[int], names: Sequence[str]) -> Layout:
    """``batch channels *grid`` for a tensor of this shape."""
    grid = dict(zip(names, shape[2:], strict=True))
    return Layout.of(" ".join(["batch channels", *names]), channels=shape[1], **grid)


def channels_last(shape: Sequence[int], names: Sequence[str]) -> Layout:
    """``batch *grid channels`` for a tensor of this shape."""
    grid = dict(zip(names, shape[1:-1], strict=True))
    return Layout.of(" ".join(["batch", *names, "channels"]), channels=shape[-1], **grid)


def is_grid_of(grid: Sequence[int], input_size: Sequence[int]) -> bool:
    """Whether a grid can be one that an input of this size was reduced to: by about the same stride in its last two.

    A time or a depth may be reduced by a stride of its own.
    """
    if len(grid) != len(input_size):
        return False
    if math.prod(grid) < 2 or any(cells > pixels + SLACK for cells, pixels in zip(grid, input_size, strict=True)):
        return False
    (least, most) = (0.0, math.inf)
    for cells, pixels in list(zip(grid, input_size, strict=True))[-2:]:
        least = max(least, pixels / (cells + SLACK))
        most = min(most, pixels / max(cells - 1, 0.5))
    return least <= most


def unfolded(shape: Sequence[int], input_size: Sequence[int]) -> list[Layout]:
    """Channels first, channels last, or both: those whose grid is reduced the more evenly from the input.

    A grid of 6 x 6 is taken before one of 8 x 6, if the input is square.
    """
    names = dimensions_of(input_size)
    if not names or len(shape) != len(names) + 2:
        return []
    first, last = tuple(shape[2:]), tuple(shape[1:-1])
    fits = {"first": _evenness(first, input_size), "last": _evenness(last, input_size)}
    best = max(fits.values())
    found = [channels_first(shape, names)] if best and fits["first"] == best else []
    return found + ([channels_last(shape, names)] if best and fits["last"] == best else [])


def _evenness(grid: Grid, input_size: Sequence[int]) -> int:
    if not is_grid_of(grid, input_size):
        return 0
    plane, whole = grid[-2:], tuple(input_size)[-2:]
    return 2 if len(plane) < 2 or plane[0] * whole[1] == plane[1] * whole[0] else 1


def layouts(shape: Sequence[int], input_size: Sequence[int], seen: Sequence[Grid]) -> list[Layout]:
    """The layouts that a tensor of one image allows, the likeliest first; none if no layer has one so.

    Args:
        shape: of the tensor, in a pass of one image.
        input_size: of the network's input, without batch and channels.
        seen: the grids that came before in the pass, the newest first.
    """
    names = dimensions_of(input_size)
    if not names:
        return []
    if shape[0] == 1 and (found := unfolded(shape, input_size)):
        return found
    return folded(shape, input_size, seen)


def folded(shape: Sequence[int], input_size: Sequence[int], seen: Sequence[Grid]) -> list[Layout]:
    """Those of them whose cells lie in one axis, or in two as windows."""
    found = dict.fromkeys(_folded(shape, dimensions_of(input_size), Grids(input_size, seen)))
    return [layout for layout in found if layout.channels > 1]


class Grids:
    """The grids that so many cells can form."""

    def __init__(self, input_size: Sequence[int], seen: Sequence[Grid]):
        self.seen = [grid for grid in dict.fromkeys(seen) if len(grid) == len(input_size)]
        self.strided = list(_strided(input_size, self.seen))

    def of(self, count: int) -> list[Grid]:
        """The grids with exactly so many cells, those seen first."""
        exact = [grid for grid in self.seen if math.prod(grid) == count]
        return exact or [grid for grid in self.strided if math.prod(grid) == count]

    def with_extra(self, tokens: int) -> list[tuple[Grid, int]]:
        """The grids, with the number of tokens that are left over; those without any first, then those seen."""
        if exact := self.of(tokens):
            return [(grid, 0) for grid in exact]
        return _left_over(self.seen, tokens, EXTRA) or _left_over(self.strided, tokens, EXTRA_UNSEEN)


def _left_over(grids: Iterable[Grid], tokens: int, most: int) -> list[tuple[Grid, int]]:
    """The grids of the most cells that leave no more tokens over than there can be extra ones."""
    fits = [(grid, tokens - math.prod(grid)) for grid in grids]
    fits = [(grid, extra) for grid, extra in fits if 0 < extra <= min(most, max(EXTRA_UNSEEN, math.prod(grid)))]
    fewest = min((extra for _, extra in fits), default=0)
    return [(grid, extra) for grid, extra in fits if extra == fewest]


def _strided(input_size: Sequence[int], seen: Sequence[Grid]) -> Iterator[Grid]:
    """The input divided by every stride, and what was seen divided again; the finest first."""
    strides = sorted({max(size // cells, 1) for size in input_size[-2:] for cells in range(1, size + 1)})
    for stride in strides:
        for rounded in (math.floor, math.ceil):
            plane = tuple(max(rounded(size / stride), 1) for size in input_size[-2:])
            if len(input_size) < 3:
                yield plane
            else:  # a clip's time, as far as it was reduced already, or by two
                times = dict.fromkeys([grid[0] for grid in seen] + [input_size[0], input_size[0] // 2])
                yield from ((time, *plane) for time in times if time)


def _folded(shape: Sequence[int], names: Sequence[str], grids: Grids) -> Iterator[Layout]:
    """Layouts whose cells lie in one axis, or in two as windows."""
    cells = " ".join(names)
    if len(shape) == 3 and 1 in shape[:2]:
        yield from _tokens(shape, "batch {cells} channels", names, grids)
        yield from _tokens(shape, "{cells} batch channels", names, grids)
        transposed = _tokens(shape, "batch channels {cells}", names, grids)
        yield from (layout for layout in transposed if not layout.extra)
    if len(shape) == 4 and shape[0] == 1:
        yield from _tokens(shape, "batch channels1 {cells} channels2", names, grids)
        yield from _tokens(shape, "batch {cells} channels1 channels2", names, grids)
    outer, inner = (" ".join(f"{name}{level}" for name in names) for level in (1, 2))
    for one, other in ((outer, inner), (inner, outer)):
        if len(shape) == 4 and shape[0] == 1 and len(names) == 2:
            yield from _windows(shape, f"batch ({one}) ({other}) channels", names, grids)
        if shape[0] > 1 and len(shape) == 3:
            yield from _windows(shape, f"(batch {one}) ({other}) channels", names, grids)
        if shape[0] > 1 and len(shape) == len(names) + 2:
            yield from _windows(shape, f"(batch {one}) {other} channels", names, grids)
            yield from _windows(shape, f"(batch {one}) channels {other}", names, grids)
    if len(names) == 1 and len(shape) == 4 and shape[0] == 1:  # a spectrogram of a waveform
        yield from _tokens(shape, f"batch channels1 channels2 {cells}", names, grids)


def _tokens(shape: Sequence[int], pattern: str, names: Sequence[str], grids: Grids) -> Iterator[Layout]:
    bare = Layout.parse(pattern.format(cells=f"({' '.join(names)})"))
    axis = next(i for i, axis in enumerate(bare.axes) if names[0] in axis.factors)
    for grid, extra in grids.with_extra(shape[axis]):
        if math.prod(grid) < 2:
            continue
        for before in dict.fromkeys((extra, 0, extra - 1) if extra else (0,)):
            after = extra - before
            inside = " + ".join(map(str, filter(None, (before, " ".join(names), after))))
            layout = Layout.parse(pattern.format(cells=f"({inside})"))
            if fitted := layout.fit(shape, 1, [grid]):
                yield fitted


def _windows(shape: Sequence[int], pattern: str, names: Sequence[str], grids: Grids) -> Iterator[Layout]:
    """Windows of every shape that divides a grid of as many cells."""
    layout = Layout.parse(pattern)
    places = [i for i, axis in enumerate(layout.axes) if "channels" not in axis.factors]
    for grid in grids.of(math.prod(shape[i] for i in places)):
        for window in _divisors(grid):
            sizes = {f"{name}2": side for name, side in zip(names, window, strict=True)}
            sized = Layout(layout.axes, tuple(sizes.items()))
            if math.prod(window) > 1 and (fitted := sized.fit(shape, 1, [grid])):
                yield fitted


def _divisors(grid: Grid) -> Iterator[Grid]:
    """The shapes that tile a grid, the squarest first."""
    found: list[Grid] = [()]
    for size in grid:
        found = [(*some, side) for some in found for side in range(1, size + 1) if size % side == 0]
    yield from sorted(found, key=lambda window: max(window) - min(window))
