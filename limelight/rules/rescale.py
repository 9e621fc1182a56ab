"""Differences from a reference, carried back: DeepLIFT's multipliers.

The reference runs first, and what each bent operation was given is kept in order. The image runs next; each bent
operation's backward is then the slope of the chord between the two, not the tangent. Operations that are linear need no
rule: their gradient is their multiplier.

:func:`multipliers` are those of a layer whose reference is not an image but other activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.cut import slope_of
from limelight.errors import MethodError
from limelight.head import Head, own_activations
from limelight.rules.watch import (
    ACTIVATIONS,
    AFFINE,
    DIVISIONS,
    FOLLOWED,
    GATES,
    MAXIMA,
    PRODUCTS,
    Call,
    Operation,
    Watch,
    known_or_refused,
)

NEAR = 1e-7
"""Where the chord is shorter than this share of the values, the tangent stands for it."""


class Reference(Watch):
    """A pass whose bent operations are written down: what each was given.

    Args:
        strict: refuse operations that have no rule; otherwise their multiplier is their gradient.
    """

    def __init__(self, strict: bool = True) -> None:
        super().__init__()
        self.strict = strict
        self.seen: list[tuple[str, list[Tensor]]] = []

    def see(self, call: Call) -> Any:
        """Write down what a bent operation is given."""
        if _is_bent(call):
            self.seen.append((call.name, call.bare))
            return call.run()
        return _linear_or_refused(call) if self.strict else call.run()


class Rescaled(Watch):
    """A pass whose bent operations hand back differences, with respect to a pass seen before."""

    def __init__(self, reference: Reference):
        super().__init__()
        self._strict = reference.strict
        self._reference: Iterator[tuple[str, list[Tensor]]] = iter(reference.seen)

    def see(self, call: Call) -> Any:
        """Give a bent operation its chord."""
        if not _is_bent(call):
            return _linear_or_refused(call) if self._strict else call.run()
        name, reference = next(self._reference, ("nothing", []))
        if name != call.name or len(reference) != len(call.followed):
            raise MethodError(
                f"DeepLIFT: the network did '{call.name}' on the image where it did '{name}' on the reference: its way "
                "depends on what it sees; use integratedgradients"
            )
        step = _Max if name in MAXIMA else _Product if name in PRODUCTS else _Chord
        return call.replaced(step(call.operation, reference))


def multipliers(head: Head, reference: Tensor) -> Tensor:
    """The score's slope ``(batch, channels, *grid)`` from a layer's reference activations to its own.

    The network runs whole, twice, with the layer's output replaced. Operations without a rule (attention, layer norm)
    have their gradient for their multiplier.

    Raises:
        MethodError: the network goes another way for the reference.
    """
    seen = Reference(strict=False)
    with seen:
        head.whole(reference.detach().requires_grad_())
    activations = own_activations(head.captured, head.k).requires_grad_()
    with Rescaled(seen):
        outputs = head.whole(activations)
    with torch.inference_mode(False), torch.enable_grad():
        return slope_of(head.asked.score(outputs), activations, head.captured.sites[head.k])


def _is_bent(call: Call) -> bool:
    return call.name in (ACTIVATIONS | MAXIMA | GATES) - {"softmax", "softmin"} or (
        call.name in PRODUCTS and len(call.followed) > 1
    )


def _linear_or_refused(call: Call) -> Any:
    weighted = call.name in AFFINE | PRODUCTS or (call.name in DIVISIONS and not follows_second(call))
    if weighted and len(call.followed) == 1:
        return call.run()
    return known_or_refused(call, call.run(), "DeepLIFT", "use integratedgradients, which needs none, or gradcam")


def follows_second(call: Call) -> bool:
    """Whether the second argument depends on the activations."""
    return call.operation.argument(1, "other") is FOLLOWED


@dataclass(frozen=True, eq=False)
class _Bent:
    operation: Operation
    reference: list[Tensor]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        kept = tuple(each.clone() for each in inputs)
        return self.operation.on(*(each.clone() for each in inputs)).clone(), kept

    def tangent(self, inputs: list[Tensor], gradient: Tensor) -> tuple[Tensor, ...]:
        """The operation's own backward at some inputs."""
        with torch.enable_grad():
            inputs = [each.detach().requires_grad_() for each in inputs]
            result = self.operation.on(*(each.clone() for each in inputs))
        return torch.autograd.grad(result, inputs, gradient)


class _Chord(_Bent):
    """The rescale rule (Shrikumar et al. 2017, eq. 10): the difference of the outputs over that of the inputs."""

    def backward(self, gradient: Tensor, x: Tensor) -> tuple[Tensor]:
        (start,) = self.reference
        change = x - start
        rise = self.operation.on(x.clone()) - self.operation.on(start.clone())
        tiny = change.abs() <= NEAR * (x.abs() + start.abs())
        (tangent,) = self.tangent([(x + start) / 2], gradient)
        return (torch.where(tiny, tangent, gradient * rise / torch.where(tiny, 1, change)),)


class _Max(_Bent):
    """A maximum: what it rose is credited to the place of the image's maximum, what it fell to that of the reference's.

    Captum's extension of the rescale rule. The multipliers times the differences still sum to the maximum's difference.
    """

    def backward(self, gradient: Tensor, x: Tensor) -> tuple[Tensor]:
        start = self.reference[0].expand_as(x)
        rise = gradient * (self.operation.on(x) - self.operation.on(start))
        up = (self.operation.on(x) - self.operation.on(start)).clamp(min=0) * gradient
        credit = self.tangent([x], up)[0] + self.tangent([start], rise - up)[0]
        change = x - start
        return (torch.where(change == 0, self.tangent([x], gradient)[0], credit / torch.where(change == 0, 1, change)),)


class _Product(_Bent):
    """A product of two tensors: each one's multiplier is the other's mean of image and reference.

    The only one that is symmetric and sums to the difference. Captum takes the plain gradient, which does not.
    """

    def backward(self, gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.tangent([(x + start) / 2 for x, start in zip(inputs, self.reference, strict=True)], gradient)
