"""The backward operations in other words give what torch's own give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from limelight.export.decompositions import (
    adaptive_average_pool_backward,
    as_strided,
    as_strided_scatter,
    average_pool_backward,
    convolution_backward,
    last_eigenvector,
    max_pool_backward,
)

aten = torch.ops.aten


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_convolutions_gradient(data):
    """For any stride, padding, dilation, groups, direction: whether it turns the kernel or transposes."""
    draw = data.draw
    groups, per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, stride, dilation = ([draw(st.integers(1, 3)) for _ in range(2)] for _ in range(3))
    padding, transposed = [draw(st.integers(0, 3)) for _ in range(2)], draw(st.booleans())
    x = torch.randn(2, groups * per_in, draw(st.integers(7, 10)), draw(st.integers(7, 10)), dtype=torch.float64)
    inner, outer = (groups * per_in, per_out) if transposed else (groups * per_out, per_in)
    weight = torch.randn(inner, outer, *kernel, dtype=torch.float64)
    if transposed:
        padding = [min(p, d * (k - 1)) for p, d, k in zip(padding, dilation, kernel, strict=True)]
    how = (stride, padding, dilation, transposed, [0, 0], groups)
    gradient = torch.randn_like(aten.convolution(x, weight, None, *how))

    found, *others = convolution_backward(gradient, x, weight, None, *how, [True, False, False])

    wanted, *_ = aten.convolution_backward(gradient, x, weight, None, *how, [True, False, False])
    torch.testing.assert_close(found, wanted)
    assert others == [None, None]


def test_a_weights_gradient_is_never_computed():
    x, weight = torch.randn(1, 2, 4, 4), torch.randn(3, 2, 1, 1)
    how = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, False])
    assert convolution_backward(torch.randn(1, 3, 4, 4), x, weight, None, *how) is NotImplemented


@pytest.mark.parametrize("bins", [(1, 1), (7, 7), (3, 5), (9, 2)])
def test_an_adaptive_average_pools_gradient(bins):
    x = torch.randn(2, 3, 7, 8, requires_grad=True)
    gradient = torch.randn(2, 3, *bins)
    (wanted,) = torch.autograd.grad(F.adaptive_avg_pool2d(x, bins), x, gradient)
    torch.testing.assert_close(adaptive_average_pool_backward(gradient, x), wanted)


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("divisor", [None, 5])
@pytest.mark.parametrize(
    ("window", "stride", "padding", "ceil"),
    [((2, 2), (2, 2), (0, 0), False), ((3, 2), (2, 1), (1, 1), True), ((3, 3), (1, 2), (1, 0), False)],
)
def test_an_average_pools_gradient(window, stride, padding, ceil, divisor, counts):
    x = torch.randn(2, 3, 7, 8, requires_grad=True)
    out = F.avg_pool2d(x, window, stride, padding, ceil, counts, divisor)
    gradient = torch.randn_like(out)
    (wanted,) = torch.autograd.grad(out, x, gradient)
    found = average_pool_backward(gradient, x, window, stride, padding, ceil, counts, divisor)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_a_max_pools_gradient(window, stride, padding):
    """Also where windows overlap and one cell is the largest of several."""
    x = torch.randn(2, 3, 9, 8, requires_grad=True)
    out, indices = F.max_pool2d(x, window, stride, padding, return_indices=True)
    gradient = torch.randn_like(out)
    (wanted,) = torch.autograd.grad(out, x, gradient)
    torch.testing.assert_close(
        max_pool_backward(gradient, x, [window], [stride], [padding], [1], False, indices), wanted
    )


@pytest.mark.parametrize("rank", [1, 3, 40])
def test_the_last_eigenvector_up_to_its_sign_and_no_other(rank):
    cells = torch.randn(4, 49, rank, dtype=torch.float64)
    gram = cells @ cells.mT
    values, vectors = torch.linalg.eigh(gram)

    found, turned = last_eigenvector(gram)

    torch.testing.assert_close(found[..., -1], values[..., -1])
    along = (turned[..., -1] * vectors[..., -1]).sum(dim=-1).abs()
    torch.testing.assert_close(along, torch.ones(4, dtype=torch.float64))
    assert found[..., :-1].isnan().all() and turned[..., :-1].isnan().all()


def test_the_eigenvector_of_nothing_is_nothing():
    values, vectors = last_eigenvector(torch.zeros(2, 3, 3))
    assert not values[..., -1].any() and not vectors[..., -1].any()


def test_strides_are_a_view_only_where_all_is_shown_in_its_order():
    pooled = torch.randn(2, 6, 1, 1)
    assert as_strided(pooled, [2, 6, 1, 1], [6, 1, 6, 6]).equal(pooled.as_strided([2, 6, 1, 1], [6, 1, 6, 6]))
    assert as_strided(pooled.flatten(1), [6, 2], [1, 6]) is NotImplemented
    assert as_strided(torch.randn(4), [2], [1]) is NotImplemented
    source, under = torch.randn(2, 6), torch.zeros(12)
    assert as_strided_scatter(under, source, [2, 6], [6, 1], 0).equal(under.as_strided_scatter(source, [2, 6], [6, 1]))
    assert as_strided_scatter(under, source[:, :3], [2, 3], [6, 1], 0) is NotImplemented
