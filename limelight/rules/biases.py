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
WEIGHTED = AFFINE | {"batch_norm", "layer_norm"}
"""Layers: their biases have a place."""
PLACED = WEIGHTED | ACTIVATIONS | GATES
WITHOUT = HOMOGENEOUS | (LINEAR - SUMS) | PRODUCTS
"""Operations of which nothing is left (products of two tensors aside, which are seen to apart)."""


class Biases(Watch):
    """A pass that tells, when it is pulled back, what each bias contributed: to whom :meth:`telling` says.

    Args:
        batch: how many images run.
    """

    def __init__(self, batch: int):
        super().__init__()
        self._batch = batch
        self._tell: Callable[[Tensor, Tensor], None] = lambda gradient, bias: None
        self._placeless = True
        self._channels_last = False

    @contextmanager
    def telling(self, tell: Callable[[Tensor, Tensor], None], placeless: bool = True) -> Iterator[None]:
        """While it lasts, pulling back tells each contribution; those without a place only if ``placeless``.

        ``tell`` is called with an output's gradient ``(batch, channels, *grid)``, or ``(batch, values)`` where it has
        no place, and the bias, which spreads over it: their product is the contribution.
        """
        before = self._tell, self._placeless
        self._tell, self._placeless = tell, placeless
        try:
            yield
        finally:
            self._tell, self._placeless = before

    def see(self, call: Call) -> Any:
        """The operation as it is, and its bias told when it is pulled back."""
        if call.name in BENT and len(call.followed) == 1:
            return self._bent(call)
        if call.name in WEIGHTED:
            self._channels_last = call.name in ("linear", "layer_norm")
        constant = self._constant(call)
        result = call.run()
        if call.name in PRODUCTS and len(call.followed) == 2:
            constant = -result.detach().clone()  # of a b the linear part, a b + b a, is twice as much
        if constant is not None and isinstance(result, Tensor) and result.requires_grad:
            placed, last = call.name in PLACED, self._channels_last
            result.register_hook(lambda gradient: self._hear(gradient, constant, placed, last))
        return result

    def _bent(self, call: Call) -> Tensor:
        """A function of each value on its own: what is left of its output is known when it has been pulled back.

        That is g f(x) - (g f'(x)) x, and what stands in brackets is what its own backward gives. x is the tensor that
        autograd keeps for that anyway, where it does.
        """
        given, source, last = call.followed[0], call.followed[0].grad_fn, self._channels_last
        x = given.detach().clone() if call.operation.in_place and not _keeps_input(call) else None
        result = call.run()
        node: Any = result.grad_fn
        single = source is not None and node.next_functions == ((source, 0),)
        if x is None:
            x = node._saved_self.detach() if single and hasattr(node, "_saved_self") else given.detach().clone()
        if single:

            def tell(slopes: tuple[Tensor], gradients: tuple[Tensor]) -> None:
                y = call.operation.on(x.clone() if call.operation.in_place else x)
                left = (gradients[0] * y).sub_(slopes[0] * x)  # exactly zero where the function is straight
                self._hear(left, left.new_ones(()), True, last)

            node.register_hook(tell)
        else:  # it is made of several operations
            value, along, *_ = torch.func.jvp(lambda given: call.operation.on(given.clone()), (x,), (x,))
            constant = (value - along).detach()
            result.register_hook(lambda gradient: self._hear(gradient, constant, True, last))
        return result

    def _constant(self, call: Call) -> Tensor | None:
        """What is left of the operation's output when its linear part is taken away; None for nothing."""
        if call.name in AFFINE and len(call.followed) == 1:
            bias = call.operation.argument(2, "bias")
            grid = 0 if call.name == "linear" else int(call.name[-2])
            return None if bias is None else bias.view(-1, *[1] * grid)
        if call.name == "batch_norm" and fixed(call):
            return scale_and_shift(call)[1].view(-1, *[1] * (call.followed[0].ndim - 2))
        if call.name in WITHOUT:
            return None
        given = (*call.operation.args, *call.operation.kwargs.values())
        if call.name in SUMS and not any(isinstance(each, Tensor | int | float) for each in given):
            return None
        return _left_over(call)

    def _hear(self, gradient: Tensor, constant: Tensor, placed: bool, last: bool) -> None:
        """Tell a contribution, with the channels (which may come ``last``) after the images."""
        if placed and gradient.ndim == 4 and len(gradient) == self._batch:
            if last:
                gradient = gradient.movedim(-1, 1)
                constant = constant.movedim(-1, 1) if constant.ndim > 1 else constant.view(-1, 1, 1)
            self._tell(gradient, constant)
        elif self._placeless:
            self._tell((gradient * constant).reshape(self._batch, -1), gradient.new_ones(()))


def _keeps_input(call: Call) -> bool:
    """Whether autograd keeps what a function of each value is given, rather than what it gives."""
    probe = call.followed[0].new_zeros(1).requires_grad_()
    return hasattr(call.operation.on(probe.clone()).grad_fn, "_saved_self")


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
