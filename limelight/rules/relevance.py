"""Layer-wise relevance propagation: relevance rules for layers with weights, and the tables that compose them.

A rule says how a layer's relevance is shared among its inputs. Between the rules the pass carries *relevance divided by
activation*: then everything that is linear (pooling, sums, concatenation, a rectifier, flattening) has its rule
already, for the gradient is the one that shares in proportion to contributions (LRP-0; Norm in zennit), and only layers
with weights and bent functions need one. At the cut, relevance is this gradient times the activations.

Batch norm with fixed statistics is merged into the convolution or linear layer whose output it takes, on the fly: the
layer's rule then sees the merged weight and bias, and the network keeps its own. Elsewhere it is a linear layer of
its own, with LRP-0. It is recognised by where its input comes from, not by the modules' order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.rules.watch import (
    ACTIVATIONS,
    AFFINE,
    DIVISIONS,
    GATES,
    MAXIMA,
    PRODUCTS,
    Call,
    Operation,
    Replaced,
    Watch,
    fixed,
    known_or_refused,
    made_by,
    scale_and_shift,
    statistics,
)

EPSILON = 1e-6
"""What keeps a denominator from zero."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution or linear layer in one call: a function of input, weight and bias."""

    operation: Operation
    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, operation: Operation) -> Layer:
        """The layer in an operation ``(input, weight, bias, ...)``."""
        return cls(operation, operation.argument(1, "weight"), operation.argument(2, "bias"))

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's output."""
        rest = {name: value for name, value in self.operation.kwargs.items() if name not in ("input", "weight", "bias")}
        return self.operation.function(x, weight, bias, *self.operation.args[3:], **rest)

    def merged(self, scale: Tensor, shift: Tensor) -> Layer:
        """The layer with a batch norm after it."""
        bias = shift if self.bias is None else self.bias * scale + shift
        return replace(self, weight=self.weight * scale.view(-1, *[1] * (self.weight.ndim - 1)), bias=bias)


Rule = Callable[[Layer, Tensor, Tensor, Tensor], Tensor]
"""``(layer, its input x, its output y, the output's relevance) -> the input's relevance``."""
Term = tuple[Tensor, Tensor, Tensor | None] | tuple[Tensor, Tensor, Tensor | None, float]
"""A contribution to a layer's output: ``(input, weight, bias)``, and its sign if it is subtracted."""


def shared(layer: Layer, relevance: Tensor, *terms: Term, epsilon: float = EPSILON) -> Tensor:
    """The relevance shared among the terms' inputs in proportion to what each contributes to the terms' sum.

    What rules have in common: R_i = sum_j (z_ij / sum_i z_ij) R_j, with z_ij as each rule defines it.
    """
    with torch.enable_grad():
        inputs = [term[0].detach().requires_grad_() for term in terms]
        outputs = [
            layer(x, weight, bias) * (sign[0] if sign else 1.0)
            for x, (_, weight, bias, *sign) in zip(inputs, terms, strict=True)
        ]
        total = torch.stack(outputs).sum(dim=0) if len(outputs) > 1 else outputs[0]
    pulled = torch.autograd.grad(total, inputs, relevance / away_from_zero(total.detach(), epsilon))
    return sum((x.detach() * back for x, back in zip(inputs, pulled, strict=True)), torch.zeros(()).to(relevance))


def away_from_zero(values: Tensor, epsilon: float) -> Tensor:
    """The values, each further from zero by ``epsilon``; zero becomes ``epsilon``."""
    return values + torch.where(values >= 0, epsilon, -epsilon)


def epsilon(epsilon: float = EPSILON) -> Rule:
    """In proportion to contributions, bias and ``epsilon`` keeping a share (Bach et al. 2015, eq. 58)."""
    return lambda layer, x, y, relevance: shared(layer, relevance, (x, layer.weight, layer.bias), epsilon=epsilon)


def plus(bias: bool = True) -> Rule:
    """In proportion to positive contributions (z+: Montavon et al. 2017; alpha 1, beta 0 in Bach et al. 2015).

    Without the bias, the excitation rule of Zhang et al. 2016, eq. 3, extended to negative inputs.
    """

    def rule(layer: Layer, x: Tensor, y: Tensor, relevance: Tensor) -> Tensor:
        return shared(layer, relevance, *_positive(layer, x, bias))

    return rule


def alpha_beta(alpha: float, beta: float) -> Rule:
    """Positive contributions take ``alpha`` times the relevance, negative ones ``-beta`` (Bach et al. 2015, eq. 60)."""

    def rule(layer: Layer, x: Tensor, y: Tensor, relevance: Tensor) -> Tensor:
        for_, against = _positive(layer, x), _negative(layer, x)
        return alpha * shared(layer, relevance, *for_) - beta * shared(layer, relevance, *against)

    return rule


def gamma(gamma: float) -> Rule:
    """Contributions with the output's own sign count ``1 + gamma`` times (Montavon et al. 2019; Andeol et al. 2021)."""

    def rule(layer: Layer, x: Tensor, y: Tensor, relevance: Tensor) -> Tensor:
        w, b = layer.weight, layer.bias
        high, low = w + gamma * w.clamp(min=0), w + gamma * w.clamp(max=0)
        b_high, b_low = (None, None) if b is None else (b + gamma * b.clamp(min=0), b + gamma * b.clamp(max=0))
        x_high, x_low = x.clamp(min=0), x.clamp(max=0)
        up = shared(layer, relevance * (y > 0), (x_high, high, b_high), (x_low, low, None))
        down = shared(layer, relevance * (y < 0), (x_high, low, b_low), (x_low, high, None))
        return up + down

    return rule


def flat(layer: Layer, x: Tensor, y: Tensor, relevance: Tensor) -> Tensor:
    """Evenly among the inputs, whatever they are (Lapuschkin et al. 2019)."""
    return shared(layer, relevance, (torch.ones_like(x), torch.ones_like(layer.weight), None))


def box(low: Tensor | float | None = None, high: Tensor | float | None = None) -> Rule:
    """For inputs between two bounds, such as pixels (z^B: Montavon et al. 2017, eq. 17).

    The bounds are in the network's own space; None takes each image's own smallest and largest
    value, channel by channel.
    """

    def rule(layer: Layer, x: Tensor, y: Tensor, relevance: Tensor) -> Tensor:
        axes, w = tuple(range(2, x.ndim)), layer.weight
        least = x.amin(dim=axes, keepdim=True) if low is None else torch.as_tensor(low).to(x)
        most = x.amax(dim=axes, keepdim=True) if high is None else torch.as_tensor(high).to(x)
        below = (least.expand_as(x), w.clamp(min=0), None, -1.0)
        above = (most.expand_as(x), w.clamp(max=0), None, -1.0)
        return shared(layer, relevance, (x, w, None), below, above)

    return rule


def contrast(layer: Layer, x: Tensor, y: Tensor, relevance: Tensor) -> Tensor:
    """What excites a unit less what excites its dual, whose weights are negated (Zhang et al. 2016, sec. 3.3)."""
    dual = replace(layer, weight=-layer.weight)
    return shared(layer, relevance, *_positive(layer, x, False)) - shared(dual, relevance, *_positive(dual, x, False))


def _positive(layer: Layer, x: Tensor, bias: bool = True) -> tuple[Term, Term]:
    b = None if layer.bias is None or not bias else layer.bias.clamp(min=0)
    return (x.clamp(min=0), layer.weight.clamp(min=0), b), (x.clamp(max=0), layer.weight.clamp(max=0), None)


def _negative(layer: Layer, x: Tensor) -> tuple[Term, Term]:
    b = None if layer.bias is None else layer.bias.clamp(max=0)
    return (x.clamp(min=0), layer.weight.clamp(max=0), b), (x.clamp(max=0), layer.weight.clamp(min=0), None)


@dataclass(frozen=True)
class Composite:
    """Which rule which layer gets.

    Attributes:
        convolution: convolutions.
        linear: linear layers.
        first: the layers that take the image, instead. What it gives is relevance itself, not divided by the image.
        last: the last layer of the pass, instead.
    """

    convolution: Rule
    linear: Rule
    first: Rule | None = None
    last: Rule | None = None

    def watch(self) -> Propagation:
        """What puts the rules in force for one pass."""
        return Propagation(self)


class Propagation(Watch):
    """A pass whose layers share relevance by a composite's rules."""

    def __init__(self, composite: Composite):
        super().__init__()
        self.composite = composite
        self.last: Layer | None = None
        self.gate: str | None = None
        self._images: Any = None  # where in the graph the image comes in

    def at_cut(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """The relevance of the activations, from what reached them."""
        return gradients if self._images is not None else gradients * activations

    def check(self, score: Tensor) -> None:
        """See that the score has relevance to hand down.

        Raises:
            MethodError: the outputs are a gate's, a softmax or sigmoid, which takes none.
        """
        if self.gate and not score.requires_grad:
            raise MethodError(
                f"relevance is handed down from logits, and this network ends in '{self.gate}': let it return what "
                f"goes into its {self.gate}, or use gradcam or integratedgradients"
            )

    def see(self, call: Call) -> Any:
        """Give the operation its rule."""
        name = call.name
        if name in AFFINE and len(call.followed) == 1:
            return self._layer(Layer.of(call.operation), call.followed[0], call)
        if name == "batch_norm" and fixed(call):
            before, kept = made_by(call.followed[0])
            if isinstance(before, _Sharing) and before.mergeable:
                return self._layer(before.layer.merged(*scale_and_shift(*statistics(call))), kept[0], call)
            return call.run()
        if name == "relu" or name in MAXIMA:
            return call.run()  # their own gradient gives all of it to what passed
        if name in GATES:
            self.gate = name
            return call.put(call.operation.on(*call.bare))  # a gate weighs and takes nothing (Arras et al. 2019)
        if name in ACTIVATIONS:
            return call.replaced(_Through(call.operation))
        if name in PRODUCTS and len(call.followed) > 1:
            return _halved(call.run())
        if name in DIVISIONS and len(call.followed) > 1:
            return call.operation.on(call.followed[0], call.followed[1].detach())
        if name == "layer_norm":
            return _normalised(call)
        if name in PRODUCTS | DIVISIONS:
            return call.run()
        return known_or_refused(
            call, call.run(), "relevance propagation", "use gradcam, integratedgradients or guidedbackprop"
        )

    def _layer(self, layer: Layer, x: Tensor, call: Call) -> Tensor:
        rules = self.composite
        first = rules.first if not self.trunk and (self._images is None or self._images is x.grad_fn) else None
        if first:
            self._images = x.grad_fn
        rule = first or (rules.linear if layer.operation.name == "linear" else rules.convolution)
        self.last = layer
        return Replaced.apply(_Sharing(layer, call, self, rule, final=bool(first)), x)


class _Sharing:
    """A layer's backward: its relevance shared by a rule. ``call`` is the layer's, or its batch norm's."""

    def __init__(self, layer: Layer, call: Call, watch: Propagation, rule: Rule, final: bool):
        self.layer, self.watch, self.rule, self.final = layer, watch, rule, final
        self.mergeable = call.operation is layer.operation and "transpose" not in call.name
        self._call: Call | None = call

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        assert self._call is not None, "an operation runs once"
        (given,), operation, self._call = self._call.followed, self._call.operation, None
        y = operation.on(given.detach())
        return y, (x, y.clone())  # a copy: the next operation may work in place

    def backward(self, gradient: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor]:
        last = self.watch.composite.last
        rule = last if last and self.watch.last is self.layer else self.rule
        relevance = rule(self.layer, x, y, gradient * y)
        return (relevance if self.final else over(relevance, x),)


@dataclass(frozen=True, eq=False)
class _Through:
    """A function of each value on its own: relevance goes through as it is."""

    operation: Operation

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.operation.on(x.clone()), (x.clone(),)

    def backward(self, gradient: Tensor, x: Tensor) -> tuple[Tensor]:
        return (over(gradient * self.operation.on(x.clone()), x),)


def over(relevance: Tensor, values: Tensor) -> Tensor:
    """Relevance divided by activation; zero where there is no activation."""
    return torch.where(values == 0, 0, relevance / torch.where(values == 0, 1, values))


def _halved(result: Tensor) -> Tensor:
    """A product of two tensors: each takes half of the relevance."""
    result.register_hook(lambda gradient: gradient / 2)
    return result


def _normalised(call: Call) -> Tensor:
    """Layer norm with the deviation held constant: it scales relevance and takes none (Ali et al. 2022, eq. 9)."""
    (x,), given = call.followed, call.operation.argument
    shape = given(1, "normalized_shape")
    axes = tuple(range(-len(shape), 0))
    deviation = (x.detach().var(dim=axes, keepdim=True, unbiased=False) + given(4, "eps", 1e-5)).sqrt()
    result = (x - x.mean(dim=axes, keepdim=True)) / deviation
    weight, bias = given(2, "weight"), given(3, "bias")
    result = result if weight is None else result * weight
    return result if bias is None else result + bias
