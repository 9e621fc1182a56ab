"""A pull-back of many targets at once, without what need not be computed at either end of the graph.

At its start: where class scores come from a linear layer, the gradients of single classes are rows of its weight, and
need no product with a matrix of zeros and ones. At its end: where the network uses nothing of a layer but its mean over
the grid, the gradient is the same at every cell, and is not written out. What lies between is autograd's, in batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

MAT1 = {"AddmmBackward0": 1, "MmBackward0": 0}
"""The backward steps of a linear layer on ``(batch, features)``, and which of their inputs the features are."""


def pulled(root: Tensor, slopes: Tensor, layers: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The gradients ``(targets, *shape)`` with respect to each layer; None for one that the root does not depend on.

    The graph is kept.

    Args:
        root: what the targets' scores are computed from.
        slopes: ``(targets, *shape)``, their gradients with respect to the root.
        layers: where to.

    Raises:
        RuntimeError: an operation can't be differentiated in batches.
    """
    goals = [get_gradient_edge(layer) for layer in layers]
    start, slopes = _past_linear(root, slopes, {goal.node for goal in goals})
    mean = _only_mean(start, layers[0], goals[0].node) if len(layers) == 1 else None
    ends = goals if mean is None else [GradientEdge(mean, 0)]
    found = [slopes] if [start] == ends else batched_gradients([start], ends, [slopes])
    return found if mean is None or found[0] is None else [_spread(found[0], mean, layers[0])]


def batched_gradients(starts: Sequence[Any], ends: Sequence[Any], slopes: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """``autograd.grad`` for slopes ``(targets, *shape)``, whose graph is kept; None for an end that none leads to.

    Raises:
        RuntimeError: an operation can't be differentiated in batches.
    """

    def one_target(slopes: tuple[Tensor, ...]) -> list[Tensor | None]:
        nonlocal reached
        found = torch.autograd.grad(starts, ends, slopes, retain_graph=True, allow_unused=True)
        reached = [each is not None for each in found]  # pyright: ignore[reportUnnecessaryComparison]
        return [each for each in found if each is not None]  # pyright: ignore[reportUnnecessaryComparison]

    reached: list[bool] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # where an operation is run target by target
        found = iter(torch.func.vmap(one_target)(tuple(slopes)))
    return [next(found) if each else None for each in reached]


def _past_linear(root: Tensor, slopes: Tensor, goals: set[Any]) -> tuple[GradientEdge, Tensor]:
    """The start and its slopes; if a linear layer comes first and each target is of one class, those behind it."""
    node: Any = root.grad_fn
    own = get_gradient_edge(root), slopes
    if node.name() not in MAT1 or root._backward_hooks or getattr(node, "_saved_alpha", 1) != 1:
        return own
    features = MAT1[node.name()]
    others = [each for number, (each, _) in enumerate(node.next_functions) if number != features and each is not None]
    behind, place = node.next_functions[features]
    if behind is None or any(goals & _users(each).keys() for each in others):
        return own
    target, index = slopes.flatten(0, -2).nonzero(as_tuple=True)
    if not torch.equal(target, torch.arange(len(slopes.flatten(0, -2)), device=target.device)):
        return own
    rows = node._saved_mat2.T[index] * slopes.flatten(0, -2)[target, index, None]
    return GradientEdge(behind, place), rows.unflatten(0, slopes.shape[:-1])


def _only_mean(start: GradientEdge, layer: Tensor, goal: Any) -> Any:
    """The backward step of the mean over the grid, if that is all that the layer is used for."""
    users = _users(start.node)
    node = goal
    for kind in ("CloneBackward0", "MeanBackward1"):
        if len(users.get(node, ())) != 1:
            return None
        (node,) = users[node]
        if node.name() != kind:
            return None
    over = sorted(_dimension(each, layer.ndim) for each in node._saved_dim)
    return node if over == list(range(2, layer.ndim)) and node._saved_self_sym_sizes == layer.shape else None


def _dimension(number: int, dimensions: int) -> int:
    """A dimension counted from 0; autograd gives negative ones without their sign."""
    return (number - 2**64 if number >= 2**63 else number) % dimensions


def _spread(gradient: Tensor, mean: Any, layer: Tensor) -> Tensor:
    """``(targets, batch, channels)`` of the means -> ``(targets, *layer.shape)``: a view, each cell the same."""
    gradient = gradient.flatten(3)[..., 0] if mean._saved_keepdim else gradient
    each = gradient / prod(layer.shape[2:])
    return each.view(*each.shape, *[1] * (layer.ndim - 2)).expand(len(gradient), *layer.shape)


def _users(start: Any) -> dict[Any, list[Any]]:
    """Every step behind one in autograd's graph, and itself, each with the steps that use it."""
    users: dict[Any, list[Any]] = {start: []}
    waiting = [start]
    while waiting:
        step = waiting.pop()
        for behind, _ in step.next_functions:
            if behind is None:
                continue
            if behind not in users:
                users[behind] = []
                waiting.append(behind)
            users[behind].append(step)
    return users
