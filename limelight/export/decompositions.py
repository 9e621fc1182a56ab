"""Backward operations that exporters have no form for, in terms of ones that all have.

Each is exact, is given what autograd gives it, and is asked for the gradient with respect to activations alone: no
weight's gradient is ever computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {}


def _replaces(operation: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        DECOMPOSITIONS[operation] = function
        return function

    return enter


@_replaces(aten.convolution_backward.default)
def convolution_backward(
    gradient: Tensor,
    given: Tensor,
    weight: Tensor,
    bias_sizes: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """A transposed convolution; where nothing is skipped (stride 1) a plain one, which engines run faster."""
    if list(wanted) != [True, False, False]:
        return NotImplemented
    dims = weight.ndim - 2
    stride, padding, dilation = (_each(value, dims) for value in (stride, padding, dilation))
    zeros = [0] * dims
    if transposed:
        return aten.convolution(gradient, weight, None, stride, padding, dilation, False, zeros, groups), None, None
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    if all(s == 1 for s in stride) and all(p <= r for p, r in zip(padding, reach, strict=True)):
        turned = [r - p for r, p in zip(reach, padding, strict=True)]
        weight = _turned(weight, groups)
        return aten.convolution(gradient, weight, None, stride, turned, dilation, False, zeros, groups), None, None
    left = [
        size - ((out - 1) * s - 2 * p + r + 1)
        for size, out, s, p, r in zip(given.shape[2:], gradient.shape[2:], stride, padding, reach, strict=True)
    ]
    if all(isinstance(size, int) for size in left):
        return aten.convolution(gradient, weight, None, stride, padding, dilation, True, left, groups), None, None
    most = [s - 1 for s in stride]  # sizes that are symbols: as much as may be missing, cut to what is
    whole = aten.convolution(gradient, weight, None, stride, padding, dilation, True, most, groups)
    for axis, size in enumerate(given.shape[2:], start=2):
        whole = whole.narrow(axis, 0, size)
    return whole, None, None


def _each(value: Sequence[int], dims: int) -> list[int]:
    return list(value) * dims if len(value) == 1 else list(value)


def _turned(weight: Tensor, groups: int) -> Tensor:
    """A convolution's weight, read from its outputs: mirrored, with inputs and outputs exchanged in each group."""
    mirrored = weight if weight[0, 0].numel() == 1 else weight.flip(list(range(2, weight.ndim)))
    return mirrored.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


@_replaces(aten._adaptive_avg_pool2d_backward.default)
def adaptive_average_pool_backward(gradient: Tensor, given: Tensor) -> Tensor:
    """Two small matrix products, one for the rows and one for the columns: each bin gives to its cells evenly."""
    bins = [
        [(i * size // out, math.ceil((i + 1) * size / out)) for i in range(out)]
        for size, out in zip(given.shape[-2:], gradient.shape[-2:], strict=True)
    ]
    return _evenly(gradient, given, bins, bins)


@_replaces(aten.avg_pool2d_backward.default)
def average_pool_backward(
    gradient: Tensor,
    given: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    padding_counts: bool,
    divisor: int | None,
) -> Tensor:
    """The same for a window that slides."""
    kernel, padding = _each(kernel, 2), _each(padding, 2)
    stride = _each(stride, 2) if stride else kernel
    within, counted = [], []
    for axis, (size, out) in enumerate(zip(given.shape[-2:], gradient.shape[-2:], strict=True)):
        starts = [i * stride[axis] - padding[axis] for i in range(out)]
        padded = [(start, min(start + kernel[axis], size + padding[axis])) for start in starts]
        within.append([(max(start, 0), min(stop, size)) for start, stop in padded])
        counted.append(padded if padding_counts else within[-1])
    if divisor:
        return _evenly(gradient, given, within, [[(0, 1)] * len(each) for each in within]) / divisor
    return _evenly(gradient, given, within, counted)


Spans = list[list[tuple[int, int]]]
"""For the rows and for the columns: from where to where each window reaches."""


def _evenly(gradient: Tensor, given: Tensor, within: Spans, counted: Spans) -> Tensor:
    """Each window's gradient, given evenly to its cells: one matrix product for the rows and one for the columns."""
    rows, columns = (
        _shares(size, spans, counts, gradient)
        for size, spans, counts in zip(given.shape[-2:], within, counted, strict=True)
    )
    return rows.T @ gradient @ columns


def _shares(size: int, spans: list[tuple[int, int]], counts: list[tuple[int, int]], like: Tensor) -> Tensor:
    """``(windows, size)``: what each cell counts in each window's mean."""
    weights = [[0.0] * size for _ in spans]
    for row, (start, stop), (first, last) in zip(weights, spans, counts, strict=True):
        row[start:stop] = [1 / (last - first)] * (stop - start)
    return torch.tensor(weights, dtype=like.dtype, device=like.device)


@_replaces(aten.max_pool2d_with_indices_backward.default)
def max_pool_backward(gradient: Tensor, given: Tensor, *window: Any) -> Tensor:
    """Each gradient is added to the cell that was the largest."""
    *_, indices = window
    flat = torch.zeros_like(given).flatten(-2)
    return flat.scatter_add(-1, indices.flatten(-2), gradient.flatten(-2)).view_as(given)


@_replaces(aten.as_strided.default)
def as_strided(given: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None = None) -> Tensor:
    """A view, where it shows all that is there in its order (global pooling in channels-last memory asks for that)."""
    return given.view(list(size)) if not offset and _same(given, size, stride) else NotImplemented


@_replaces(aten.as_strided_scatter.default)
def as_strided_scatter(
    given: Tensor, source: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Tensor:
    """The source itself, where it takes the place of all that was there."""
    return source.reshape(given.shape) if not offset and _same(given, size, stride) else NotImplemented


@_replaces(aten.copy.default)
def copy(given: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """What is written over does not matter, only its shape and type."""
    return source.to(given.dtype).expand(given.shape)


def _same(given: Tensor, size: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether such a view shows all elements of ``given`` in their order. Sizes of one say nothing."""
    own, asked = (
        [pair for pair in zip(*layout, strict=True) if pair[0] != 1]
        for layout in ((given.shape, given.stride()), (size, stride))
    )
    return own == asked or (_is_dense(own) and _is_dense(asked) and given.numel() == math.prod(size))


def _is_dense(layout: list[tuple[int, int]]) -> bool:
    """Whether sizes and strides, outermost first, are those of a contiguous tensor."""
    step = 1
    for size, stride in reversed(layout):
        if stride != step:
            return False
        step = step * size
    return True


@_replaces(aten._linalg_eigh.default)
def last_eigenvector(matrix: Tensor, *how: Any) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue and its vector by power iteration, squaring the matrix: 2^20 steps in 20 products.

    The other values and vectors are NaN, so that nothing can use them unseen. For matrices without negative
    eigenvalues, such as the Gram matrices of principal components.
    """
    power = matrix
    for _ in range(20):
        power = power @ power
        power = power / power.abs().amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(matrix.dtype).tiny)
    # Now every column is a multiple of the vector: the sum of the columns, each turned as the longest is, is long.
    longest = power.abs().sum(dim=-2, keepdim=True)
    vector = (power * (longest == longest.amax(dim=-1, keepdim=True))).sum(dim=-1, keepdim=True)
    vector = vector / vector.norm(dim=-2, keepdim=True).clamp(min=torch.finfo(matrix.dtype).tiny)
    value = (vector.mT @ matrix @ vector)[..., 0]
    unknown = torch.full_like(matrix[..., :-1], torch.nan)
    return torch.cat([unknown[..., 0, :], value], dim=-1), torch.cat([unknown, vector], dim=-1)
