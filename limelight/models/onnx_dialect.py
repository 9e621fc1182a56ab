"""A newer ONNX graph in the words of operator set 17, which the converter to torch understands.

Most operators of later sets differ from their older selves in the types they allow; a few moved an attribute to an
input. What can't be said in the older words is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from limelight.errors import ModelError

OPSET = 17
SAME = frozenset(
    [
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "Div",
        "Dropout",
        "Elu",
        "Equal",
        "Flatten",
        "Gather",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "InstanceNormalization",
        "MaxPool",
        "Mul",
        "Pad",
        "Relu",
        "Reshape",
        "Selu",
        "Shape",
        "Size",
        "Softplus",
        "Softsign",
        "SpaceToDepth",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    ]
)
"""Operators whose newer versions, as exporters write them, say the same in the older set."""
FORGOTTEN = {"Cast": {"saturate", "round_mode"}, "Split": {"num_outputs"}}
"""Attributes that the older set does not have and that change nothing here."""
REDUCE = frozenset({"ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"})


def in_older_words(model: Any) -> Any:
    """The ONNX model with its graph rewritten; it is changed in place.

    Raises:
        ModelError: an operator has no older words.
    """
    opset = max([entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")], default=OPSET)
    _without_identities(model.graph)
    constants = _constants(model.graph)
    for node in model.graph.node:
        _without_allowzero(node, constants)
    if opset <= OPSET:
        return model
    nodes: list[Any] = []
    for node in model.graph.node:
        nodes.extend(_older(node, opset, constants))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = OPSET
    return model


def _older(node: Any, opset: int, constants: dict[str, Any]) -> Iterable[Any]:
    import onnx

    if node.domain not in ("", "ai.onnx") or onnx.defs.get_schema(node.op_type, opset).since_version <= OPSET:
        return [node]
    forgotten = FORGOTTEN.get(node.op_type, set())
    for attribute in [each for each in node.attribute if each.name in forgotten]:
        node.attribute.remove(attribute)
    if node.op_type in REDUCE and _axes_known(node, constants):
        return [_with_axes(node, constants)]
    if node.op_type == "Gelu" and not any(each.name == "approximate" and each.s == b"tanh" for each in node.attribute):
        return _gelu(node)
    if node.op_type == "Split" or (node.op_type in SAME and not (node.op_type == "Pad" and len(node.input) > 3)):
        return [node]
    raise ModelError(
        f"the ONNX file uses the operator {node.op_type} as operator set {opset} has it, which can't be converted: "
        f"export it again with opset_version={OPSET}"
    )


def _without_identities(graph: Any) -> None:
    """Weights that are handed on under a second name are taken by their first: the converter loses them otherwise."""
    weights: set[str] = {each.name for each in graph.initializer}
    outputs: set[str] = {each.name for each in graph.output}
    names: dict[str, str] = {}
    kept = []
    for node in graph.node:
        source = names.get(node.input[0], node.input[0]) if node.op_type == "Identity" else ""
        if source in weights and node.output[0] not in outputs:
            names[node.output[0]] = source
        else:
            kept.append(node)
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)


def _without_allowzero(node: Any, constants: dict[str, Any]) -> None:
    """A leave to have sides of zero, where the shape has none: exporters always give it, the converter has none."""
    shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
    if shape is not None and shape.all():
        for attribute in [each for each in node.attribute if each.name == "allowzero"]:
            node.attribute.remove(attribute)


def _constants(graph: Any) -> dict[str, Any]:
    """What is known before the graph runs, by name."""
    from onnx import numpy_helper

    found = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _axes_known(node: Any, constants: dict[str, Any]) -> bool:
    return len(node.input) < 2 or not node.input[1] or node.input[1] in constants


def _with_axes(node: Any, constants: dict[str, Any]) -> Any:
    """The axes as an attribute, as they were before set 18."""
    from onnx import helper

    if len(node.input) > 1:
        axes = constants.get(node.input[1])
        del node.input[1:]
        if axes is not None and axes.size:
            node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in axes.ravel()]))
    for attribute in [each for each in node.attribute if each.name == "noop_with_empty_axes"]:
        node.attribute.remove(attribute)
    return node


def _gelu(node: Any) -> list[Any]:
    """x * (1 + erf(x / sqrt(2))) / 2."""
    from onnx import helper

    (given,), (gave,), name = node.input, node.output, node.name or node.output[0]

    def constant(what: str, value: float) -> Any:
        tensor = helper.make_tensor(f"{name}/{what}", 1, [], [value])
        return helper.make_node("Constant", [], [f"{name}/{what}"], value=tensor, name=f"{name}/{what}")

    def step(kind: str, inputs: list[str], output: str) -> Any:
        return helper.make_node(kind, inputs, [output], name=output if output != gave else name)

    return [
        constant("root", 2**0.5),
        constant("one", 1.0),
        constant("half", 0.5),
        step("Div", [given, f"{name}/root"], f"{name}/scaled"),
        step("Erf", [f"{name}/scaled"], f"{name}/erf"),
        step("Add", [f"{name}/erf", f"{name}/one"], f"{name}/share"),
        step("Mul", [given, f"{name}/share"], f"{name}/twice"),
        step("Mul", [f"{name}/twice", f"{name}/half"], gave),
    ]
