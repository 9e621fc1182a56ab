"""A pull-back of many targets gives what autograd gives for one after the other, whatever is left out of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from limelight import shortcuts
from limelight.shortcuts import pulled

WEIGHT, HIDDEN = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.randn(4, 4)


def doubled(logits):
    logits.register_hook(lambda gradient: 2 * gradient)
    return logits


HEADS = {
    "linear": lambda a: F.linear(a.mean((2, 3)), WEIGHT, torch.ones(5)),
    "no bias": lambda a: a.mean((2, 3)) @ WEIGHT.T,
    "kept dimensions": lambda a: F.linear(a.mean((2, 3), keepdim=True).flatten(1), WEIGHT, torch.ones(5)),
    "negative dimensions": lambda a: F.linear(a.mean((-1, -2)), WEIGHT, torch.ones(5)),
    "adaptive pooling": lambda a: F.linear(nn.AdaptiveAvgPool2d(1)(a).flatten(1), WEIGHT, torch.ones(5)),
    "hidden layer": lambda a: F.linear(F.hardswish(a.mean((2, 3)) @ HIDDEN), WEIGHT, torch.ones(5)),
    "no rule for batches": lambda a: F.linear(F.mish(a.mean((2, 3)) @ HIDDEN), WEIGHT, torch.ones(5)),
    "rectified before the mean": lambda a: F.linear(F.relu(a).mean((2, 3)), WEIGHT, torch.ones(5)),
    "mean of one dimension": lambda a: F.linear(a.mean(3).sum(2), WEIGHT, torch.ones(5)),
    "mean of channels too": lambda a: a.mean((1, 2, 3))[:, None] * torch.arange(5.0),
    "used twice": lambda a: F.linear(a.mean((2, 3)), WEIGHT, torch.ones(5)) + a.amax((1, 2, 3))[:, None],
    "mean used twice": lambda a: (lambda m: F.linear(m, WEIGHT, torch.ones(5)) * m.sum(1, keepdim=True))(
        a.mean((2, 3))
    ),
    "scaled bias": lambda a: torch.addmm(torch.ones(5), a.mean((2, 3)), WEIGHT.T, alpha=3.0),
    "the bias depends on the layer": lambda a: torch.addmm(a.amax((2, 3)) @ WEIGHT.T, a.mean((2, 3)), WEIGHT.T),
    "the weight depends on the layer": lambda a: a.mean((2, 3)) @ (WEIGHT.T * a.amax()),
    "watched by a hook": lambda a: doubled(F.linear(a.mean((2, 3)), WEIGHT, torch.ones(5))),
    "not used": lambda a: a.sum() * 0 + F.linear(torch.ones(2, 4), WEIGHT).requires_grad_() * 1,
}
ONE = torch.eye(5)[[3, 0, 4]][:, None].expand(3, 2, 5) * torch.tensor([1.0, -2.0])[:, None]
SLOPES = {
    "one class each": ONE,
    "several classes": torch.randn(3, 2, 5),
    "none": ONE * torch.tensor([1.0, 0.0])[:, None],
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("slopes", SLOPES.values(), ids=SLOPES)
def test_as_one_after_the_other(head, slopes):
    layer = torch.randn(2, 4, 3, 3, requires_grad=True)
    logits = head(layer.clone())
    (many,) = pulled(logits, slopes, [layer])
    one = [torch.autograd.grad(logits, layer, slope, retain_graph=True, allow_unused=True)[0] for slope in slopes]
    torch.testing.assert_close(many, torch.stack(one))


def test_of_single_classes_neither_the_product_nor_the_cells_are_written_out(monkeypatch):
    """What is saved: the linear layer's step is not run, and the cells of the gradient are one number a channel."""
    layer = torch.randn(2, 4, 3, 3, requires_grad=True)
    logits = HEADS["hidden layer"](layer.clone())
    started = []
    monkeypatch.setattr(
        shortcuts, "batched_gradients", lambda s, e, g: started.append(s[0].node.name()) or [g[0] @ HIDDEN.T]
    )
    (many,) = pulled(logits, ONE, [layer])
    assert started == ["HardswishBackward0"]
    assert many.shape == (3, *layer.shape)
    assert many.stride()[-2:] == (0, 0)


def test_several_layers_and_one_without_a_part_in_it():
    layers = [torch.randn(2, 4, 3, 3, requires_grad=True) for _ in range(3)]
    logits = HEADS["linear"](layers[0] * layers[1])
    first, second, third = pulled(logits, ONE, layers)
    assert third is None
    for many, layer in ((first, layers[0]), (second, layers[1])):
        one = [torch.autograd.grad(logits, layer, slope, retain_graph=True)[0] for slope in ONE]
        torch.testing.assert_close(many, torch.stack(one))
