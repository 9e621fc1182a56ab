"""ONNX nodes written as calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

Value = str
"""The name of a value in a graph."""


class Nodes:
    """A growing list of nodes: ``nodes.Add(a, 1)`` appends an Add and gives its output's name.

    Inputs are names, or numbers and arrays, which become constants: whole numbers int64, others double, arrays as they
    are. Attributes go by keyword, and ``out`` names the output.
    """

    def __init__(self, prefix: str):
        self.prefix = prefix
        self.made: list[onnx.NodeProto] = []
        self._count = 0

    def __getattr__(self, operation: str) -> Any:
        if not operation[:1].isupper():
            raise AttributeError(operation)

        def append(*inputs: Any, out: str | None = None, **attributes: Any) -> Value:
            return self._append(operation, [self._named(each) for each in inputs], out, attributes)

        return append

    def cast(self, value: Value, to: type[np.generic]) -> Value:
        """``value`` as another type of numbers."""
        from onnx import helper

        return self.Cast(value, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))

    def vector(self, *numbers: Value | int) -> Value:
        """Whole numbers, known or not, as one vector."""
        return self.Concat(
            *(self.Unsqueeze(n, np.array([0])) if isinstance(n, str) else np.array([n]) for n in numbers), axis=0
        )

    def constant(self, value: Any) -> Value:
        """A number or an array as a value."""
        from onnx import numpy_helper

        array = np.asarray(value)
        return self._append("Constant", [], None, {"value": numpy_helper.from_array(array)})

    def _named(self, value: Any) -> Value:
        return value if isinstance(value, str) else self.constant(value)

    def _append(self, operation: str, inputs: list[Value], out: str | None, attributes: dict[str, Any]) -> Value:
        from onnx import helper

        self._count += 1
        name = out or f"{self.prefix}_{operation.lower()}_{self._count}"
        self.made.append(helper.make_node(operation, inputs, [name], **attributes))
        return name


def scores_alone(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with what the scores depend on and nothing else: the bare forward pass."""
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(graph)
    kept = needed(graph.graph.node, ["scores"])
    used = {name for node in kept for name in node.input}
    weights = [each for each in graph.graph.initializer if each.name in used]
    scores = [each for each in graph.graph.output if each.name == "scores"]
    images = [each for each in graph.graph.input if each.name in used]
    for field, values in (("node", kept), ("input", images), ("output", scores), ("initializer", weights)):
        bare.graph.ClearField(field)
        getattr(bare.graph, field).extend(values)
    return bare


def needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[Value]) -> list[onnx.NodeProto]:
    """The nodes, in order, that the outputs depend on."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]
