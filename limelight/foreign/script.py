"""TorchScript: a program whose modules are not called as modules, as one whose every operation is a layer."""

from __future__ import annotations

from collections.abc import Callable
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
    """A TorchScript network as one whose operations are layers ("conv2d_3", "relu_2"), for inputs of one shape.

    Where torch can't convert it, it is given back as it is: a network without layers to be seen.
    """
    known = _opened.setdefault(network, {})
    shapes = tuple(tuple(each.shape) for each in inputs.args if isinstance(each, Tensor))
    if shapes not in known and not inputs.options:
        found = _converted(network, inputs.args)
        if found is None:
            return network
        known[shapes] = found
    return known.get(shapes, network)


def _converted(network: nn.Module, args: tuple[Any, ...]) -> nn.Module | None:
    try:
        from torch._export.converter import TS2EPConverter

        with torch.no_grad():
            program: Any = TS2EPConverter(network, args).convert()  # pyright: ignore[reportArgumentType]
            steps = _in_steps(program.module(check_guards=False))
            same = torch.allclose(_first(steps(*args)), _first(network(*args)), rtol=1e-3, atol=1e-4)
    except Exception:  # the converter is young, and says no in many ways
        return None
    return steps if same else None


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
