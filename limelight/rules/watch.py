"""Watching a network's operations while it runs, and putting other backward passes in their place.

A :class:`Watch` is in force for one pass, in one thread, and sees every call of torch's functions: those that modules
make and those written out (``F.relu``, ``x.relu_()``, ``x + y``). What a watch does with an operation is one method.
Inside, parameters take no gradient, so that a tensor that needs one depends on the activations at the cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from limelight.errors import MethodError

AFFINE = {f"{kind}{dims}d" for kind in ("conv", "conv_transpose") for dims in (1, 2, 3)} | {"linear"}
"""Operations with a weight and a bias: ``(input, weight, bias, ...)``."""
GATES = {"sigmoid", "hardsigmoid", "softmax", "softmin"}
"""Operations whose result is there to weigh another tensor."""
ACTIVATIONS = {
    *(
        "relu",
        "relu6",
        "hardtanh",
        "threshold",
        "clamp",
        "clamp_min",
        "clip",
        "leaky_relu",
        "prelu",
        "rrelu",
        "elu",
        "selu",
    ),
    *("celu", "gelu", "silu", "mish", "hardswish", "softplus", "tanh", "logsigmoid", "softsign", "tanhshrink", "exp"),
    *("abs", "square", "sqrt", "hardshrink", "softshrink"),
}
"""Functions of each value on its own, gates aside."""
MAXIMA = {f"{kind}max_pool{dims}d" for kind in ("", "adaptive_") for dims in (1, 2, 3)} | {"amax"}
"""Operations that take the largest of some values."""
PRODUCTS = {"mul", "imul", "rmul", "multiply", "matmul", "bmm", "einsum"}
"""Operations that are linear in each of two tensors."""
LINEAR = {
    *(f"{kind}avg_pool{dims}d" for kind in ("", "adaptive_") for dims in (1, 2, 3)),
    *(
        "add",
        "iadd",
        "radd",
        "sub",
        "isub",
        "rsub",
        "subtract",
        "neg",
        "positive",
        "mean",
        "sum",
        "cat",
        "concat",
        "stack",
    ),
    *(
        "flatten",
        "unflatten",
        "view",
        "view_as",
        "reshape",
        "reshape_as",
        "permute",
        "transpose",
        "swapaxes",
        "movedim",
    ),
    *(
        "squeeze",
        "unsqueeze",
        "expand",
        "expand_as",
        "repeat",
        "repeat_interleave",
        "broadcast_to",
        "contiguous",
        "clone",
    ),
    *(
        "detach",
        "to",
        "type",
        "type_as",
        "float",
        "double",
        "half",
        "bfloat16",
        "cpu",
        "cuda",
        "pad",
        "constant_pad_nd",
    ),
    *(
        "getitem",
        "setitem",
        "select",
        "narrow",
        "chunk",
        "split",
        "unbind",
        "tensor_split",
        "index_select",
        "gather",
        "roll",
    ),
    *(
        "flip",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "interpolate",
        "upsample",
        "unfold",
        "fold",
        "dropout",
    ),
    *(
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "feature_dropout",
        "feature_alpha_dropout",
        "alpha_dropout",
        "zero_pad",
        "get",
    ),
    *("batch_norm", "t", "rot90", "tile", "diagonal", "copy", "requires_grad", "addmm", "cumsum", "moveaxis", "ravel"),
}
"""Linear, up to a constant, in what depends on the activations (batch norm where its statistics are fixed)."""
QUESTIONS = {
    *("dim", "size", "__len__", "numel", "is_floating_point", "stride", "is_contiguous", "ndimension"),
    *("register_hook", "retain_grad"),
}
"""Operations that answer about a tensor, or ask something of it, and give none."""
DIVISIONS = {"div", "truediv", "itruediv", "divide", "true_divide"}
"""Linear in the first tensor, not in the second."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One of torch's functions with its arguments, but for the tensors that depend on the activations.

    It holds none of them, so that a graph may hold it.

    Attributes:
        function: torch's own.
        args: the arguments given by place; ``FOLLOWED`` for a tensor that depends on the activations.
        kwargs: the arguments given by name.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @cached_property
    def name(self) -> str:
        """The function's name, in place or not: "relu" for ``relu_``, "iadd" for ``+=``."""
        return _name_of(self.function)

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument given by place or by name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def on(self, *tensors: Tensor) -> Any:
        """What the function gives with these for the tensors that depend on the activations."""
        given = iter(tensors)
        args, kwargs = _each(lambda leaf: next(given) if leaf is FOLLOWED else leaf, (self.args, self.kwargs))
        return self.function(*args, **kwargs)

    @property
    def in_place(self) -> bool:
        """Whether the function writes its result over its first argument."""
        name = getattr(self.function, "__name__", "")
        if name.startswith("__"):
            return name.startswith("__i")
        code = getattr(self.function, "__code__", None)
        names = code.co_varnames[: code.co_argcount] if code else ()
        asked = self.argument(names.index("inplace"), "inplace") if "inplace" in names else self.kwargs.get("inplace")
        return name.endswith("_") or bool(asked)


@dataclass(eq=False)
class Call:
    """A call of one of torch's functions, whose parameters have lost their gradient.

    It holds the tensors that it is given, so a graph that it stands in must not hold it: :attr:`operation` is for that.

    Attributes:
        function: torch's own.
        args: the arguments given by place.
        kwargs: the arguments given by name.
        followed: the tensors among them that depend on the activations.
        name: the function's name, as :attr:`Operation.name`.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    followed: tuple[Tensor, ...]
    name: str

    @classmethod
    def of(cls, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """A call as torch hands it over."""
        followed: list[Tensor] = []

        def part(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or not leaf.requires_grad:
                return leaf
            if type(leaf) is not Tensor and isinstance(leaf, nn.Parameter):  # which is slow to tell
                return leaf.detach()
            followed.append(leaf)
            return leaf

        args, kwargs = _each(part, args), _each(part, kwargs)
        return cls(function, args, kwargs, tuple(followed), _name_of(function))

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument given by place or by name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def run(self) -> Any:
        """What the function gives."""
        return self.function(*self.args, **self.kwargs)

    @cached_property
    def operation(self) -> Operation:
        """The call without ``followed``."""

        followed = set(map(id, self.followed))

        def part(leaf: Any) -> Any:
            return FOLLOWED if id(leaf) in followed else leaf

        return Operation(self.function, _each(part, self.args), _each(part, self.kwargs))

    @property
    def bare(self) -> list[Tensor]:
        """Copies of ``followed`` without their graphs, which an operation in place may write on."""
        return [tensor.detach().clone() for tensor in self.followed]

    def put(self, result: Tensor) -> Tensor:
        """The result for the network: in the place of the input, where the operation works in place."""
        return self.followed[0].copy_(result) if self.operation.in_place else result

    def replaced(self, step: Any) -> Tensor:
        """The operation with the step's forward and backward (:class:`Replaced`)."""
        return self.put(Replaced.apply(step, *self.followed))


FOLLOWED = object()
NUMBERS = {int, float, bool, type(None)}


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """Arguments with each that is no list, tuple, dictionary or number changed: much quicker than pytree."""
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([each if type(each) in NUMBERS else _each(change, each) for each in value])
    if kind is dict:
        return {key: each if type(each) in NUMBERS else _each(change, each) for key, each in value.items()}
    return change(value)


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", str(function)).strip("_")


def follows(leaf: Any) -> bool:
    """Whether a value is a tensor that depends on the activations."""
    return isinstance(leaf, Tensor) and leaf.requires_grad


class Watch(TorchFunctionMode):
    """Sees each operation that works on something that depends on the activations.

    Attributes:
        trunk: whether a layer with weights ran before the cut.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        if name in QUESTIONS:
            return function(*args, **kwargs)
        if not torch.is_grad_enabled():
            self.trunk = self.trunk or name in AFFINE
            return function(*args, **kwargs)
        call = Call.of(function, args, kwargs)
        return self.see(call) if call.followed else call.run()

    def see(self, call: Call) -> Any:
        """What the operation gives to the network."""
        raise NotImplementedError


def known_or_refused(call: Call, result: Any, method: str, instead: str) -> Any:
    """The result of an operation that has no rule: let pass where it is linear, so that its gradient is its rule.

    Raises:
        MethodError: it is not, or it is not known to be.
    """
    if call.name in LINEAR and not (call.name == "batch_norm" and not fixed(call)):
        return result
    if not any(follows(leaf) for leaf in pytree.tree_leaves(result)):
        return result
    raise MethodError(f"{method} has no rule for '{call.name}', which this network uses; {instead}")


def fixed(call: Call) -> bool:
    """Whether a batch norm has fixed statistics."""
    mean = call.argument(3 if call.function is torch.batch_norm else 1, "running_mean")
    return mean is not None and not call.argument(5, "training", False)


def statistics(call: Call) -> tuple[Any, Any, Tensor | None, Tensor | None, float]:
    """A batch norm's mean, variance, weight and bias, and what is added to the variance."""
    names = ["running_mean", "running_var", "weight", "bias"]
    if call.function is torch.batch_norm:  # takes them in another order than that of functional
        names = names[2:] + names[:2]
    given = {name: call.argument(place, name) for place, name in enumerate(names, start=1)}
    return given["running_mean"], given["running_var"], given["weight"], given["bias"], call.argument(7, "eps", 1e-5)


def scale_and_shift(
    mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """A batch norm with these, fixed :func:`statistics` as ``scale * x + shift``, for each channel."""
    scale = (variance + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    return scale, -mean * scale if bias is None else bias - mean * scale


class Replaced(torch.autograd.Function):
    """An operation with another backward.

    ``step.forward(*inputs) -> (result, kept)``, ``step.backward(gradient, *kept) -> gradients`` of the inputs.
    """

    @staticmethod
    def forward(ctx: Any, step: Any, *inputs: Tensor) -> Tensor:
        """Run the step."""
        ctx.step = step
        result, kept = step.forward(*inputs)
        ctx.save_for_backward(*kept)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Hand back what the step does."""
        return None, *ctx.step.backward(gradient, *ctx.saved_tensors)


def made_by(tensor: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
    """The step that gave a tensor, if nothing else has been done to it since, and what it kept."""
    step = getattr(tensor.grad_fn, "step", None)
    return step, () if step is None else tensor.grad_fn.saved_tensors  # type: ignore[union-attr]
