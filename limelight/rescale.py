"""DeepLIFT's rescale rule on a recorded head: every element-wise operation is taken for the line between two points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight.traced import Slot, Step

if TYPE_CHECKING:
    from limelight.alone import Alone

_aten = torch.ops.aten
_NAMES = """relu hardtanh hardswish hardsigmoid silu gelu sigmoid tanh elu leaky_relu softplus mish clamp clamp_min"""
ELEMENTWISE = {getattr(_aten, form) for name in _NAMES.split() for form in (name, name + "_") if hasattr(_aten, form)}
"""Operations that treat each number on its own, and not linearly; those with "_" do it in place."""
NEAR = 1e-6
"""Arguments nearer than this have no line between them; the tangent is taken."""


def linearised(head: Alone, value: Tensor, reference: Tensor) -> Any:
    """The head's outputs for ``value``, each element-wise operation being linear from what ``reference`` gives it.

    The gradient of these outputs is DeepLIFT's multiplier (Shrikumar et al. 2017, arXiv 1704.02685, sec. 3.5.2).
    """
    values, others = {0: value.clone()}, {0: reference.clone()}
    rows = len(value)
    for number, step in enumerate(head.traced.steps):
        argument, at = _argument(step, values), _argument(step, others)
        with torch.no_grad():
            head.traced.do(number, others, head.trunk, rows)
        head.traced.do(number, values, head.trunk, rows)
        if argument is None or at is None:
            continue
        slot = step.results[0]
        assert slot is not None, "an element-wise operation gives a tensor"
        result, there = values[slot], others[slot]
        distance = (argument - at).detach()
        apart = distance.abs() > NEAR
        slope = (result - there).detach() / torch.where(apart, distance, 1)
        values[slot] = torch.where(apart, there + slope * (argument - at), result)
    return head.answer(values, rows)


def _argument(step: Step, values: dict[int, Tensor]) -> Tensor | None:
    """What an element-wise operation is about to be applied to: a copy, for it may change it in place."""
    first = step.leaves[0] if step.leaves else None
    if step.operation.overloadpacket not in ELEMENTWISE or not isinstance(first, Slot):
        return None
    return values[first.number].clone() if step.operation._schema.is_mutable else values[first.number]
