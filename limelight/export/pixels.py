"""Around a step's graph: what makes its input of a photograph's pixels, and lays its maps on the photograph.

With these the model takes ``pixels``, (height, width, 3) uint8 RGB of any size, and its ``map`` has the photograph's
own size, so that what runs it needs no picture library. The plan is that of :class:`limelight.Preprocessing`
and the placing that of :func:`limelight.heatmap.place`; they are said once more, in ONNX operations, because a graph
can't leave sizes to Python. The tests hold them to be equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from limelight.export.graph import Nodes, Value, needed
from limelight.export.to_onnx import IMAGE
from limelight.preprocessing import LONGEST, Fit, Preprocessing

if TYPE_CHECKING:
    import onnx

PIXELS = "pixels"
"""The name of the input."""
_LUMA = np.array([19595, 38470, 7471], np.int32).reshape(1, 3, 1, 1)  # Pillow's weights of red, green and blue
_CELLS = (-2, -1)


def from_pixels(model: onnx.ModelProto, preprocessing: Preprocessing, fit: Fit, fusion: str) -> onnx.ModelProto:
    """A model of one preprocessed image as one of one photograph's pixels.

    Args:
        model: from :func:`limelight.export.to_onnx.to_onnx`, for a batch of one.
        preprocessing: what the network expects of a picture.
        fit: how the photograph becomes the network's input.
        fusion: how the maps of several layers become one.

    Returns:
        The model with the input ``pixels`` in place of ``image``, a ``map`` of the photograph's size, and the ``box``
        x0, y0, x1, y1 of the photograph that the network saw.
    """
    from onnx import TensorProto, helper

    nodes, graph = Nodes(PIXELS), model.graph
    photo, box = _prepare(nodes, preprocessing, fit)
    corners = [nodes.cast(edge, np.float32) for edge in (box[0][1], box[0][0], box[1][1], box[1][0])]
    nodes.Concat(*(nodes.Unsqueeze(edge, np.array([0])) for edge in corners), axis=0, out="box")
    before = list(nodes.made)
    raws = {each.name: _grid(each) for each in graph.output if each.name.startswith("raw")}
    del nodes.made[:]
    _lay(nodes, raws, photo, box, fusion)

    outputs = [each for each in graph.output if each.name != "map"]
    core = [node for node in graph.node if "map" not in node.output]
    several = [dimension.dim_value for dimension in outputs[1].type.tensor_type.shape.dim][1:]
    shown = helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, *several, "height", "width"])
    pixels = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["height", "width", 3])
    inputs = [pixels, *(each for each in graph.input if each.name != IMAGE)]
    seen = helper.make_tensor_value_info("box", TensorProto.FLOAT, [4])
    outputs = [*outputs, shown, seen]
    kept = needed([*before, *core, *nodes.made], [each.name for each in outputs])
    used = {name for node in kept for name in node.input}
    weights = [each for each in graph.initializer if each.name in used]
    whole = helper.make_graph(kept, graph.name, inputs, outputs, weights)
    return helper.make_model(whole, opset_imports=model.opset_import, ir_version=model.ir_version)


def _grid(output: onnx.ValueInfoProto) -> tuple[int, int]:
    rows, columns = output.type.tensor_type.shape.dim[-2:]
    return rows.dim_value, columns.dim_value


Pair = tuple[Value, Value]
"""Of rows, of columns."""


def _prepare(g: Nodes, own: Preprocessing, fit: Fit) -> tuple[Pair, tuple[Pair, Pair]]:
    """From pixels to the image; the photograph's size, and the box that the image covers: from, to."""
    shape = g.Shape(PIXELS)
    photo = g.Gather(shape, 0), g.Gather(shape, 1)
    (top, height), (left, width) = (_looked_at(g, own, fit, photo[a], photo[1 - a]) for a in (0, 1))
    resized = _resized(g, own, fit, height, width)
    corner = tuple(_centred(g, length, window) for length, window in zip(resized, own.size, strict=True))

    ends = g.vector(g.Add(top, height), g.Add(left, width))
    seen = g.Slice(PIXELS, g.vector(top, left), ends, np.array([0, 1]))
    picture = g.Unsqueeze(g.Transpose(seen, perm=[2, 0, 1]), np.array([0]))
    if own.channels == 1:
        parts = g.Mul(g.cast(picture, np.int32), _LUMA)
        total = g.Add(g.ReduceSum(parts, np.array([1])), np.array(0x8000, np.int32))
        picture = g.cast(g.Div(total, np.array(1 << 16, np.int32)), np.uint8)
    picture = resampled(g, g.cast(picture, np.float32), (height, width), resized, own.interpolation)

    border = _column(own._border(fit))
    picture = g.Sub(g.Div(picture, np.float32(255)), border)
    before = [g.Neg(at) for at in corner]
    after = [g.Sub(g.Add(at, window), length) for at, window, length in zip(corner, own.size, resized, strict=True)]
    picture = g.Add(g.Pad(picture, g.vector(0, 0, *before, 0, 0, *after)), border)
    g.Div(g.Sub(picture, _column(own.mean)), _column(own.std), out=IMAGE)

    def edges(offset: int) -> Pair:
        sides = []
        for start, length, new, at, window in zip((top, left), (height, width), resized, corner, own.size, strict=True):
            scale = g.Div(g.cast(length, np.float64), g.cast(new, np.float64))
            place = g.cast(g.Add(at, offset * window), np.float64)
            sides.append(g.Add(g.cast(start, np.float64), g.Mul(place, scale)))
        return sides[0], sides[1]

    return photo, (edges(0), edges(1))


def _looked_at(g: Nodes, own: Preprocessing, fit: Fit, length: Value, across: Value) -> Pair:
    if fit != "crop" or own.crop_mode != "center":
        return g.constant(0), length
    most = g.Div(g.Mul(across, LONGEST * max(own.size)), min(own.size))
    start = g.Div(g.Max(g.Sub(length, most), 0), 2)
    return start, g.Sub(length, g.Mul(start, 2))


def _resized(g: Nodes, own: Preprocessing, fit: Fit, height: Value, width: Value) -> Pair:
    if fit == "whole":
        return g.constant(own.size[0]), g.constant(own.size[1])
    target = own.size if fit == "pad" else tuple(max(math.floor(side / own.crop), 1) for side in own.size)
    if fit == "crop" and own.crop_mode == "squash":
        return g.constant(target[0]), g.constant(target[1])
    if fit == "crop" and own.crop_mode == "center" and target[0] == target[1]:
        wide = g.LessOrEqual(height, width)
        longer = [g.Div(g.Mul(one, target[0]), other) for one, other in ((height, width), (width, height))]
        return g.Where(wide, target[0], longer[0]), g.Where(wide, longer[1], target[0])
    sides = [g.cast(side, np.float64) for side in (height, width)]
    ratios = [g.Div(side, float(to)) for side, to in zip(sides, target, strict=True)]
    ratio = g.Min(*ratios) if fit == "crop" and own.crop_mode == "center" else g.Max(*ratios)
    rounded = [g.Max(g.cast(g.Round(g.Div(side, ratio)), np.int64), 1) for side in sides]
    return rounded[0], rounded[1]


def resampled(g: Nodes, levels: Value, size: Pair, new: Pair, interpolation: str) -> Value:
    """Antialiased resampling of whole levels, 0 to 255, as torch does it on uint8, to the bit but for large factors.

    Two matrix products of whole numbers, along the rows and then down the columns, each rounded to levels. ONNX's own
    Resize weighs to more digits, which is a level more or less here and there: it moved maps by up to 0.007.
    """
    for axis in (1, 0):
        weights = _weights(g, size[axis], new[axis], interpolation)
        # torch keeps 16 bits of a weight: as many places as leave the largest below 2**15.
        places = g.Ceil(g.Div(g.Log(g.Div(32767.5, g.ReduceMax(weights, keepdims=0))), math.log(2)))
        one = g.Pow(2.0, g.Min(g.Sub(places, 1.0), 22.0))
        whole = g.Mul(g.Sign(weights), g.Floor(g.Add(g.Mul(g.Abs(weights), one), 0.5)))
        whole, one = g.cast(whole, np.float32), g.cast(one, np.float32)
        total = g.MatMul(whole, levels) if axis == 0 else g.MatMul(levels, g.Transpose(whole, perm=[1, 0]))
        levels = g.Clip(g.Floor(g.Add(g.Div(total, one), np.float32(0.5))), np.float32(0), np.float32(255))
    return levels


def _weights(g: Nodes, length: Value, new: Value, interpolation: str) -> Value:
    """``(new, length)``: what each pixel counts in each new one; the rows sum to 1."""
    scale = g.Div(g.cast(length, np.float64), g.cast(new, np.float64))
    centres = g.Unsqueeze(g.Mul(scale, g.Add(g.cast(g.Range(0, new, 1), np.float64), 0.5)), np.array([1]))
    wide = g.Max(scale, 1.0)
    x = g.Abs(g.Div(g.Sub(g.Add(g.cast(g.Range(0, length, 1), np.float64), 0.5), centres), wide))
    if interpolation == "bilinear":
        weights = g.Max(g.Sub(1.0, x), 0.0)
    else:  # Keys' cubic with a = -0.5
        near = g.Add(g.Mul(g.Mul(g.Sub(g.Mul(x, 1.5), 2.5), x), x), 1.0)
        far = g.Mul(g.Sub(g.Mul(g.Add(g.Mul(g.Sub(x, 5.0), x), 8.0), x), 4.0), -0.5)
        weights = g.Where(g.Less(x, 1.0), near, g.Where(g.Less(x, 2.0), far, 0.0))
    return g.Div(weights, g.ReduceSum(weights, np.array([1])))


def _centred(g: Nodes, length: Value, window: int) -> Value:
    spare = g.cast(g.Round(g.Div(g.cast(g.Sub(length, window), np.float64), 2.0)), np.int64)
    missing = g.Neg(g.Div(g.Sub(window, length), 2))
    return g.Where(g.Less(length, window), missing, spare)


def _column(values: Sequence[float]) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def _lay(g: Nodes, raws: dict[str, tuple[int, int]], photo: Pair, box: tuple[Pair, Pair], fusion: str) -> None:
    """From raw maps to the shown map on the photograph."""
    maps = []
    for raw, grid in raws.items():
        scaled = _rescaled(g, g.Max(raw, np.float32(0)))
        rows, columns = (_interpolation(g, grid[a], photo[a], box[0][a], box[1][a]) for a in (0, 1))
        maps.append(g.MatMul(g.MatMul(rows, scaled), g.Transpose(columns, perm=[1, 0])))
    if len(maps) == 1:
        g.Identity(maps[0], out="map")
        return
    fused = {"mean": g.Mean, "max": g.Max}[fusion](*maps) if fusion != "product" else maps[0]
    for each in maps[1:] if fusion == "product" else ():
        fused = g.Mul(fused, each)
    g.Identity(_rescaled(g, fused), out="map")


def _rescaled(g: Nodes, maps: Value) -> Value:
    peak = g.ReduceMax(maps, np.array(_CELLS))
    return g.Div(maps, g.Where(g.Greater(peak, np.float32(0)), peak, np.float32(1)))


def _interpolation(g: Nodes, cells: int, pixels: Value, start: Value, end: Value) -> Value:
    centres = g.Add(g.cast(g.Range(0, pixels, 1), np.float64), 0.5)
    share = g.Div(g.Sub(centres, start), g.Sub(end, start))
    position = g.Sub(g.Mul(share, float(cells)), 0.5)
    held = g.Unsqueeze(g.Clip(position, 0.0, float(cells - 1)), np.array([1]))
    weights = g.Max(g.Sub(1.0, g.Abs(g.Sub(held, np.arange(cells, dtype=np.float64)))), 0.0)
    inside = g.And(g.GreaterOrEqual(position, -0.5), g.LessOrEqual(position, cells - 0.5))
    return g.cast(g.Mul(weights, g.cast(g.Unsqueeze(inside, np.array([1])), np.float64)), np.float32)
