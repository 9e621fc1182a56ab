"""What a score owes to the biases inside a network, each with its place.

Around an image every operation is ``y = J x + c``: its linear part, and what is left of its output. c is a
convolution's bias, the shift of a batch norm with fixed statistics, the constant of ``x + c``; zero for ReLU and
pooling; f(x) - f'(x) x for a bent function f. So a score is the gradient times the image, and the sum over all
operations of the gradient at their output times c (Srinivas and Fleuret 2019, prop. 1), for any network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limelight.errors import MethodError
from limelight.rules.watch import (
    ACTIVATIONS,
    AFFINE,
    GATES,
    LINEAR,
    MAXIMA,
    PRODUCTS,
    Call,
    Watch,
    fixed,
    scale_and_shift,
)

HOMOGENEOUS = {"relu", "leaky_relu", "prelu", "abs", *MAXIMA}
"""Operations that go through zero in straight lines: nothing is left of their output."""
BENT = (ACTIVATIONS | GATES) - HOMOGENEOUS - {"softmax", "softmin"}
"""Functions of each value on its own that bend, or don't go through zero."""
SUMS = {"add", "iadd", "radd", "sub", "isub", "rsub", "subtract"}


class Biases(Watch):
    """A pass that tells, when it is pulled back, what each bias contributed: to whom :meth:`telling` says.

    Args:
        batch: how many images run.
    """

    def __init__(self, batch: int):
        super().__init__()
        self._batch = batch
        self._tell: Callable[[Tensor, Tensor], None] = lambda gradient, bias: None
        self._channels_last = False

    @contextmanager
    def telling(self, tell: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
        """While it lasts, pulling back tells each contribution.

        ``tell`` is called with an output's gradient ``(batch, channels, *grid)``, or ``(batch, values)`` where it has
        no place, and the bias, which spreads over it: their product is the contribution.
        """
        before, self._tell = self._tell, tell
        try:
            yield
        finally:
            self._tell = before

    def see(self, call: Call) -> Any:
        """The operation as it is, and its bias told when it is pulled back."""
        bent = call.name in BENT and len(call.followed) == 1
        constant = None if bent else self._constant(call)
        layer = call.name in AFFINE | {"batch_norm", "layer_norm"}
        if layer:
            self._channels_last = call.name in ("linear", "layer_norm")
        if bent:
            return self._bent(call)
        result = call.run()
        if call.name in PRODUCTS and len(call.followed) == 2:
            constant = -result.detach().clone()  # of a b the linear part, a b + b a, is twice as much
        if constant is not None and isinstance(result, Tensor) and result.requires_grad:
            placed, last = layer or call.name in ACTIVATIONS | GATES, self._channels_last
            result.register_hook(lambda gradient: self._tell(*self._arranged(gradient, constant, placed, last)))
        return result

    def _bent(self, call: Call) -> Tensor:
        """A function of each value on its own: what is left of its output is known when it has been pulled back.

        That is g f(x) - (g f'(x)) x, and what stands in brackets is what its own backward gives.
        """
        x, source = call.bare[0], call.followed[0].grad_fn
        result = call.run()
        y, node, last = result.detach().clone(), result.grad_fn, self._channels_last
        if node is not None and source is not None and node.next_functions == ((source, 0),):
            one = y.new_ones(()).expand_as(y)
            node.register_hook(
                lambda slopes, gradients: self._tell(*self._arranged(gradients[0] * y - slopes[0] * x, one, True, last))
            )
        else:  # it is made of several operations
            value, along, *_ = torch.func.jvp(lambda given: call.operation.on(given.clone()), (x,), (x,))
            constant = (value - along).detach()
            result.register_hook(lambda gradient: self._tell(*self._arranged(gradient, constant, True, last)))
        return result

    def _constant(self, call: Call) -> Tensor | None:
        """What is left of the operation's output when its linear part is taken away; None for nothing."""
        if call.name in AFFINE and len(call.followed) == 1:
            bias = call.operation.argument(2, "bias")
            grid = 0 if call.name == "linear" else int(call.name[-2])
            return None if bias is None else bias.view(-1, *[1] * grid)
        if call.name == "batch_norm" and fixed(call):
            return scale_and_shift(call)[1].view(-1, *[1] * (call.followed[0].ndim - 2))
        if call.name in HOMOGENEOUS | (LINEAR - SUMS) | PRODUCTS:
            return None
        if call.name in SUMS and not any(isinstance(leaf, Tensor | int | float) for leaf in call.operation.leaves):
            return None
        return _left_over(call)

    def _arranged(self, gradient: Tensor, constant: Tensor, placed: bool, last: bool) -> tuple[Tensor, Tensor]:
        if not placed or gradient.ndim != 4 or len(gradient) != self._batch:
            return (gradient * constant).reshape(self._batch, -1), gradient.new_ones(())
        if last:  # the channels
            gradient, constant = (
                gradient.movedim(-1, 1),
                constant.movedim(-1, 1) if constant.ndim > 1 else constant[:, None, None],
            )
        return gradient, constant


def _left_over(call: Call) -> Tensor | None:
    """The output less its derivative along the inputs themselves."""
    probe = call.operation.on(*call.bare)
    if not isinstance(probe, Tensor):
        if any(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in pytree.tree_leaves(probe)):
            raise MethodError(
                f"FullGrad can't tell what '{call.name}' adds, which this network uses; use integratedgradients"
            )
        return None
    if not probe.is_floating_point():
        return None
    inputs = tuple(call.bare)
    value, along, *_ = torch.func.jvp(
        lambda *given: call.operation.on(*(each.clone() for each in given)), inputs, inputs
    )
    return (value - along).detach()
