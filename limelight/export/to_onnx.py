"""A step's graph as an ONNX model: converted, described, and run."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from limelight.errors import MissingExtra, ModelError, one_line
from limelight.export.lower import lower
from limelight.step import Step

if TYPE_CHECKING:
    import onnx
    import onnxruntime

OPSET = 20
IMAGE, CLASSES = "image", "class_index"
"""The names of a graph's inputs."""


def to_onnx(
    step: Step, images: Tensor, classes: Tensor | None = None, batch: int | None = None, *, any_size: bool = False
) -> onnx.ModelProto:
    """The step as an ONNX model, with inputs ``image[, class_index]`` and outputs ``scores, classes, raw, map``.

    Args:
        step: what is exported.
        images: one example, (1, channels, height, width); its size is the model's.
        classes: one example, (1,), where the step takes them.
        batch: how many images at once; None for any number.
        any_size: whether the images may have any height and width.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
        ModelError: the network can't be recorded, or uses an operation that ONNX has no form for; it is named.
    """
    require("onnx", "onnxscript")
    rows = 2 if batch is None else batch
    examples = tuple(torch.cat([each] * rows) for each in (images, classes) if each is not None)
    graph = lower(step, *examples, any_size=any_size)
    free = {0: torch.export.Dim("batch")} if batch is None else {}
    sides = {2: torch.export.Dim("height"), 3: torch.export.Dim("width")} if any_size else {}
    names = [IMAGE, CLASSES][: len(examples)]
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                examples,
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=outputs_of(step),
                dynamic_shapes=({**free, **sides}, free)[: len(examples)],
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter's own kinds are private, and wrap each other
        raise ModelError(f"{type(step.network).__name__} can't be exported to ONNX: {_reason(error)}") from error
    assert program is not None
    return tidy(program.model_proto)


def outputs_of(step: Step) -> list[str]:
    """The names of the outputs."""
    layers = len(step.cut.sites)
    return ["scores", "classes", *(["raw"] if layers == 1 else [f"raw_{n}" for n in range(1, layers + 1)]), "map"]


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what the exporter notes about each node: source lines and paths of this machine."""
    graph = model.graph
    for each in [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        del each.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    return model


def describe(model: onnx.ModelProto, facts: Mapping[str, str]) -> None:
    """Write facts into the model's metadata, under ``limelight.*``, which every runtime gives back."""
    for key, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = f"limelight.{key}", value


def session(model: onnx.ModelProto | str | bytes, threads: int | None = None, batch: int | None = None) -> Any:
    """An ONNX Runtime session on the CPU.

    Args:
        model: a model, its bytes, or a file's path.
        threads: how many it may use; None for as many as torch does.
        batch: how many images there will always be at once, so that shapes are known; None for any number.

    Raises:
        MissingExtra: onnxruntime is not installed.
        ModelError: it lacks an operation of the model; it is named.
    """
    require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    if batch is not None:
        options.add_free_dimension_override_by_name("batch", batch)
    source = model if isinstance(model, str | bytes) else model.SerializeToString()
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"ONNX Runtime can't run it: {one_line(error, 300)}") from error


def runner(running: onnxruntime.InferenceSession) -> Callable[..., dict[str, Tensor]]:
    """What runs a session on tensors ``(images[, classes])`` and gives its outputs by name.

    It raises ``ModelError`` where the session can't run them.
    """
    inputs = [each.name for each in running.get_inputs()]
    names = [each.name for each in running.get_outputs()]

    def run(*tensors: Tensor) -> dict[str, Tensor]:
        feed = {name: tensor.numpy() for name, tensor in zip(inputs, tensors, strict=True)}
        try:
            found = running.run(names, feed)
        except Exception as error:  # its kinds have no other in common
            raise ModelError(f"ONNX Runtime can't run it: {one_line(error, 300)}") from error
        return {name: torch.from_numpy(np.asarray(value)) for name, value in zip(names, found, strict=True)}

    return run


def require(*libraries: str) -> None:
    """Refuse to go on without a library of the ``export`` extra.

    Raises:
        MissingExtra: one is not installed.
    """
    from importlib.util import find_spec

    for library in libraries:
        if find_spec(library) is None:
            raise MissingExtra(library, "export", "exporting")


def _reason(error: BaseException) -> str:
    """The operation that has no form, where the exporter's chain of errors names one; otherwise its first words."""
    said, seen = [], error
    while seen is not None:
        said.append(str(seen))
        seen = seen.__cause__ or seen.__context__
    for text in reversed(said):
        if found := re.search(
            r"No (?:ONNX function|decompositions?) .*?for <?[^']*'?((?:aten|prims|torchvision)[\w.:]+)", text
        ):
            return f"the operation {found[1]} has no ONNX form"
    return one_line(said[-1], 300)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter prints and warns of on its way."""
    chatty = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [each.level for each in chatty]
    try:
        for each in chatty:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(chatty, levels, strict=True):
            each.setLevel(level)
