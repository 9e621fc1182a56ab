"""What a score owes to the biases inside a network, each with its place.

Around an image every operation is ``y = J x + c``: its linear part, and what is left of its output. c is a
convolution's bias, the shift of a batch norm with fixed statistics, the constant of ``x + c``; zero for ReLU and
pooling; f(x) - f'(x) x for a bent function f. So a score is the gradient times the image, and the sum over all
operations of the gradient at their output times c (Srinivas and Fleuret 2019, prop. 1), for any network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from limelight.errors import MethodError
from limelight.head import at_least_single
from limelight.rules.watch import (
    ACTIVATIONS,
    AFFINE,
    GATES,
    LINEAR,
    MAXIMA,
    PRODUCTS,
    Call,
    Replaced,
    Watch,
    fixed,
    scale_and_shift,
    statistics,
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

    What is small is worked out together, for many places at once: between two large steps of the network even a small
    operation is slow, as its code and data have left the processor's caches.

    Args:
        batch: how many images run.
    """

    AT_ONCE = 2**20
    """Bytes of gradients that wait until they are told: as much as a core's cache holds."""

    def __init__(self, batch: int):
        super().__init__()
        self._batch = batch
        self._tell: Callable[[Tensor], None] | None = None
        self._placeless = True
        self._channels_last = False
        self._keeps_input: dict[Callable[..., Any], bool] = {}
        self._normalised: list[_Normalised] = []
        self._waiting: list[Callable[[], None]] = []
        self._bytes = 0

    @contextmanager
    def telling(self, tell: Callable[[Tensor], None], placeless: bool = True) -> Iterator[None]:
        """While it lasts, pulling back tells each contribution; those without a place only if ``placeless``.

        ``tell`` is called with the contributions ``(batch, channels, *grid)``, or ``(batch, values)`` where they have
        no place, at least in single precision. It may write on them.
        """
        before = self._tell, self._placeless
        self._tell, self._placeless = tell, placeless
        _ = [step.parts for step in self._normalised]  # worked out here, together
        try:
            yield
            self._say_all()
        finally:
            self._tell, self._placeless, self._waiting, self._bytes = *before, [], 0

    def see(self, call: Call) -> Any:
        """The operation as it is, and its bias told when it is pulled back."""
        name, last = call.name, self._channels_last
        if name in BENT and len(call.followed) == 1:
            return self._bent(call)
        if name in WEIGHTED:
            self._channels_last = last = name in ("linear", "layer_norm")
        if name == "batch_norm" and fixed(call) and len(call.followed) == 1:
            step = _Normalised(self, call)
            self._normalised.append(step)
            return Replaced.apply(step, call.followed[0])
        if name in PRODUCTS and len(call.followed) == 2:
            return self._product(call)
        constant = self._constant(call)
        result = call.run()
        if constant is not None and isinstance(result, Tensor) and result.requires_grad:
            placed = name in PLACED
            result.register_hook(lambda gradient: self.hear(gradient, lambda: constant, placed, last))
        return result

    def _bent(self, call: Call) -> Tensor:
        """A function of each value on its own: what is left of its output is known when it has been pulled back.

        That is g f(x) - (g f'(x)) x, and what stands in brackets is what its own backward gives. x is the tensor that
        autograd keeps for that anyway, where it does.
        """
        given, source, last = call.followed[0], call.followed[0].grad_fn, self._channels_last
        operation = call.operation  # and not the call: the graph holds what tells
        x = given.detach().clone() if operation.in_place and not self._input_is_kept(call) else None
        result = call.run()
        node: Any = result.grad_fn
        single = source is not None and node.next_functions == ((source, 0),)
        if x is None:
            x = node._saved_self.detach() if single and hasattr(node, "_saved_self") else given.detach().clone()
        if not single:  # it is made of several operations
            value, along, *_ = torch.func.jvp(lambda given: operation.on(given.clone()), (x,), (x,))
            constant = (value - along).detach()
            result.register_hook(lambda gradient: self.hear(gradient, lambda: constant, True, last))
            return result

        def left(gradient: Tensor, slope: Tensor) -> Tensor:
            """Exactly zero where the function is straight."""
            y = operation.on(x.clone() if operation.in_place else x)
            return at_least_single(y).mul_(gradient).sub_(at_least_single(slope) * x)

        def hear(slopes: tuple[Tensor], gradients: tuple[Tensor]) -> None:
            slope, gradient = slopes[0], gradients[0]
            self._wait(gradient, lambda: left(gradient, slope), True, last)

        node.register_hook(hear)
        return result

    def _product(self, call: Call) -> Any:
        """A product of two tensors a and b: of its linear part, a b + b a, it is half, so less a b is left."""
        operation = call.operation
        kept = [tensor.detach() for tensor in call.followed]  # by autograd anyway
        sides = call.bare if operation.in_place else kept
        result = call.run()
        if isinstance(result, Tensor) and result.requires_grad:
            result.register_hook(lambda gradient: self.hear(gradient, lambda: -operation.on(*sides), False, False))
        return result

    def _input_is_kept(self, call: Call) -> bool:
        """Whether autograd keeps what a function of each value is given, rather than what it gives."""
        if call.function not in self._keeps_input:
            probe = call.followed[0].detach().new_zeros(1).requires_grad_()
            self._keeps_input[call.function] = hasattr(call.operation.on(probe.clone()).grad_fn, "_saved_self")
        return self._keeps_input[call.function]

    def _constant(self, call: Call) -> Tensor | None:
        """What is left of the operation's output when its linear part is taken away; None for nothing."""
        if call.name in AFFINE and len(call.followed) == 1:
            bias = call.argument(2, "bias")
            grid = 0 if call.name == "linear" else int(call.name[-2])
            return None if bias is None else bias.view(-1, *[1] * grid)
        if call.name in WITHOUT and call.name != "batch_norm":  # with the batch's own statistics it is not linear
            return None
        given = (*call.operation.args, *call.operation.kwargs.values())
        if call.name in SUMS and not any(isinstance(each, Tensor | int | float) for each in given):
            return None
        return _left_over(call)

    def hear(self, gradient: Tensor, constant: Callable[[], Tensor], placed: bool, last: bool) -> None:
        """Tell what a constant contributes, by the gradient at the output that it is a part of.

        Args:
            gradient: ``(batch, channels, *grid)``; if ``last``, the channels come last.
            constant: gives what spreads over it.
            placed: whether it has a place, if there is more than one.
            last: as said.
        """
        self._wait(gradient, lambda: at_least_single(gradient) * constant(), placed, last)

    def _wait(self, gradient: Tensor, term: Callable[[], Tensor], placed: bool, last: bool) -> None:
        """Tell contributions of a gradient's shape, if anybody asks for them, once there are enough of them."""
        grid = gradient.shape[1:-1] if last else gradient.shape[2:]
        placed = placed and gradient.ndim == 4 and len(gradient) == self._batch and math.prod(grid) > 1
        tell = self._tell
        if tell is None or not (placed or self._placeless):
            return

        def say() -> None:
            found = term()
            if not placed:
                found = found.reshape(self._batch, -1)
            tell(found.movedim(-1, 1) if placed and last else found)

        self._waiting.append(say)
        self._bytes += gradient.nbytes
        if self._bytes > self.AT_ONCE:
            self._say_all()

    def _say_all(self) -> None:
        for say in self._waiting:
            say()
        self._waiting, self._bytes = [], 0


class _Normalised:
    """A batch norm with fixed statistics: a scale and a shift for each channel, of which its backward needs the scale.

    So what it was given is not kept. torch's own backward keeps it, and reads it for gradients that nobody asks for.
    """

    def __init__(self, biases: Biases, call: Call):
        self.biases = biases
        self._call: Call | None = call
        self._statistics = statistics(call)
        self._shape = (-1, *[1] * (call.followed[0].ndim - 2))

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        scale, shift = scale_and_shift(*self._statistics)
        return scale.view(self._shape), shift.view(self._shape)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        assert self._call is not None, "an operation runs once"
        call, self._call = self._call, None  # the graph holds this step
        return call.run(), ()

    def backward(self, gradient: Tensor) -> tuple[Tensor]:
        scale, shift = self.parts
        self.biases.hear(gradient, lambda: shift, True, False)
        return ((gradient * scale).to(gradient.dtype),)


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
