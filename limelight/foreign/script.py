"""TorchScript: a program whose modules are not called as modules, as one whose every operation is a layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limelight.nested import Inputs

CHANNELS_SECOND = ("aten.conv", "aten._convolution", "aten.batch_norm", "_pool")
"""Operations that take and give their channels in the second axis."""

_opened: WeakKeyDictionary[nn.Module, dict[Any, nn.Module]] = WeakKeyDictionary()


class Operation(nn.Module):
    """One operation of a program."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function
        self.channels_second = any(kind in str(function) for kind in CHANNELS_SECOND)

    def forward(self, *args: Any, **options: Any) -> Any:
        """What it gives."""
        return self.function(*args, **options)


def is_script(network: Any) -> bool:
    """Whether it is TorchScript, which runs its modules without calling them."""
    return isinstance(network, torch.jit.ScriptModule)


def opened(network: nn.Module, inputs: Inputs) -> nn.Module:
    """A TorchScript network as one whose operations are layers ("conv2d_3", "relu_2"), for images of one shape.

    Any other network is given back as it is, and so is a program that torch can't convert: a network without layers to
    be seen.
    """
    if not is_script(network):
        return network
    known = _opened.setdefault(network, {})
    shapes = tuple(tuple(each.shape[1:]) for each in inputs.args if isinstance(each, Tensor))
    if shapes not in known and not inputs.options:
        found = _converted(network, inputs.args)
        if found is None:
            return network
        known[shapes] = found
    return known.get(shapes, network)


def _converted(network: nn.Module, args: tuple[Any, ...]) -> nn.Module | None:
    """The program for any number of images, or for as many as were given, where it fixes that."""
    one, two, three = (_images(args, count) for count in (1, 2, 3))  # of a single one, the converter makes a constant
    return _steps(network, two, (one, three)) or _steps(network, args, (args,))


def _steps(network: nn.Module, args: tuple[Any, ...], tried: Sequence[tuple[Any, ...]]) -> nn.Module | None:
    try:
        from torch._export.converter import TS2EPConverter

        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            program: Any = TS2EPConverter(network, args).convert()  # pyright: ignore[reportArgumentType]
            steps = _in_steps(program.module(check_guards=False))
            pairs = [(_first(steps(*each)), _first(network(*each))) for each in tried]
    except Exception:  # the converter is young, and says no in many ways
        return None
    return steps if all(torch.allclose(*pair, rtol=1e-3, atol=1e-4) for pair in pairs) else None


def _images(args: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The first image's inputs, so often."""
    return tuple(torch.cat([each[:1]] * count) if isinstance(each, Tensor) and each.ndim else each for each in args)


def _in_steps(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The program with each operation that gives a tensor as a module of its own, under the operation's name."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and isinstance(node.meta.get("val"), Tensor):
            graph.add_submodule(node.name, Operation(node.target))
            with graph.graph.inserting_before(node):
                step = graph.graph.call_module(node.name, node.args, node.kwargs)
            node.replace_all_uses_with(step)
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _first(outputs: Any) -> Tensor:
    return next(leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor))
