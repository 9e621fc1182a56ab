"""layout.py: one line of text, and the two functions that it stands for."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from limelight.errors import LayerError
from limelight.grid import Layout


@pytest.mark.parametrize(
    ("line", "shape", "batch", "grids", "grid", "channels"),
    [
        ("batch channels height width", (2, 8, 3, 5), 2, [], (3, 5), 8),
        ("batch height width channels", (2, 3, 5, 8), 2, [], (3, 5), 8),
        ("batch channels length", (2, 8, 7), 2, [], (7,), 8),
        ("batch channels depth height width", (2, 8, 4, 3, 5), 2, [], (4, 3, 5), 8),
        ("batch (1 + height width) channels", (2, 16, 8), 2, [(4, 4), (3, 5)], (3, 5), 8),
        ("batch (1 + height width + 4) channels", (2, 20, 8), 2, [(3, 5)], (3, 5), 8),
        ("batch (5 + height=3 width) channels", (2, 20, 8), 2, [], (3, 5), 8),
        ("(height width) batch channels", (15, 2, 8), 2, [(3, 5)], (3, 5), 8),
        ("batch channels1 (height width) channels2", (2, 4, 15, 2), 2, [(3, 5)], (3, 5), 8),
        ("(batch height1 width1) (height2=2 width2=3) channels", (8, 6, 8), 2, [(4, 6)], (4, 6), 8),
        ("(batch height2 width2) (height1 width1) channels", (8, 6, 8), 2, [], None, 8),
    ],
)
def test_a_shape_gives_every_size(line, shape, batch, grids, grid, channels):
    fitted = Layout.parse(line).fit(shape, batch, grids)
    if grid is None:
        assert fitted is None, "two unknown sizes in one axis, and no grid to choose from"
        return
    assert fitted is not None
    assert fitted.grid == grid
    assert fitted.channels == channels


@pytest.mark.parametrize(
    ("line", "shape"),
    [
        ("batch channels height width", (2, 8, 15)),
        ("batch (2 + height=3 width=5) channels", (2, 16, 8)),
        ("batch (height=4 width) channels", (2, 15, 8)),
        ("batch (20 + height width) channels", (2, 15, 8)),
    ],
)
def test_a_shape_that_contradicts_does_not_fit(line, shape):
    assert Layout.parse(line).fit(shape, 2, [(3, 5)]) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("batch channels hight width", "'hight' is none of batch, channels"),
        ("batch channels", "at least one of"),
        ("channels height width", "needs batch"),
        ("batch channels height height", "twice"),
        ("batch (1 + height width channels", "not understood"),
        ("batch (height + width) channels", "not understood"),
        ("batch (1 + 2) channels", "not understood"),
        ("batch (1 + height) (1 + width) channels", "one axis only"),
        ("", "needs batch"),
    ],
)
def test_a_line_that_is_none_is_refused_with_what_is_wrong(line, said):
    with pytest.raises(LayerError) as error:
        Layout.parse(line)
    assert said in str(error.value)
    assert repr(line) in str(error.value)
    assert "\n" not in str(error.value)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, tuple[int, ...]]:
    """Any layout with small sizes, and the grid it should have."""
    names = draw(st.sampled_from([("length",), ("height", "width"), ("depth", "height", "width")]))
    split = [name for name in (*names, "channels") if draw(st.booleans())]
    factors = ["batch"]
    for name in (*names, "channels"):
        factors += [f"{name}1", f"{name}2"] if name in split else [name]
    rest = draw(st.permutations(factors[1:]))
    order = ["batch", *rest] if draw(st.booleans()) else draw(st.permutations(factors))
    axes: list[list[str]] = [[]]
    for name in order:
        if axes[-1] and (draw(st.booleans()) or name == "batch"):  # the images stand outermost in their axis
            axes.append([])
        axes[-1].append(name)
    before, after = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    line = []
    extra = draw(st.integers(0, len(axes) - 1))
    for i, axis in enumerate(axes):
        inside = " ".join(axis)
        if i == extra and "batch" not in axis:
            inside = " + ".join(map(str, filter(None, (before, inside, after))))
        line.append(f"({inside})")
    sizes = {name: draw(st.integers(1, 3)) for name in factors if name != "batch"}
    grid = tuple(math.prod(s for n, s in sizes.items() if n.rstrip("12") == name) for name in names)
    return Layout.of(" ".join(line), **sizes), grid


@settings(deadline=None, max_examples=150)
@given(layouts(), st.integers(1, 3))
def test_reading_undoes_writing_and_extra_tokens_stay(case: tuple[Layout, tuple[int, ...]], batch: int):
    layout, grid = case
    assert Layout.of(str(layout), **dict(layout.sizes)) == layout
    assert layout.grid == grid
    cells = torch.arange(batch * layout.channels * math.prod(grid)).double().view(batch, layout.channels, *grid)
    blank = torch.full(_shape(layout, batch), -1.0, dtype=torch.float64)
    written = layout.write(cells, blank)
    assert written.shape == blank.shape
    assert torch.equal(layout.read(written), cells)
    assert int((written == -1).sum()) == blank.numel() - cells.numel(), "what is no cell is the layer's own"
    assert torch.equal(layout.write(layout.read(written), written), written)
    twice = layout.write(torch.cat([cells, cells + 1]), written)  # the batch as a block, twice
    assert torch.equal(layout.read(twice), torch.cat([cells, cells + 1]))


def _shape(layout: Layout, batch: int) -> tuple[int, ...]:
    sizes = {**dict(layout.sizes), "batch": batch}
    return tuple(math.prod(sizes[n] for n in axis.factors) + axis.before + axis.after for axis in layout.axes)


def test_windows_are_read_as_swin_makes_them():
    """Against window_partition written out, as in Liu et al. 2021."""
    x = torch.randn(2, 6, 8, 5)  # batch height width channels
    windows = x.view(2, 2, 3, 4, 2, 5).permute(0, 1, 3, 2, 4, 5).reshape(-1, 6, 5)
    layout = Layout.of("(batch height1 width1) (height2 width2) channels", height2=3, width2=2)
    fitted = layout.fit(windows.shape, 2, [(6, 8)])
    assert fitted is not None
    assert torch.equal(fitted.read(windows), x.permute(0, 3, 1, 2))


def test_a_gradient_passes_both_ways():
    layout = Layout.of("batch (1 + height width) channels", height=2, width=3, channels=4)
    own = torch.randn(2, 7, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(layout.read(own).square().sum(), own)
    assert torch.equal(layout.read(gradient), 2 * layout.read(own.detach()))
    assert not gradient[:, 0].any()
    cells: Tensor = torch.randn(2, 4, 2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(layout.write(cells, own.detach()).square().sum(), cells)
    assert torch.equal(gradient, 2 * cells.detach())
