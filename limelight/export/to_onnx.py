"""A step's graph as an ONNX model: converted, described, and shown to answer as the step itself does."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight.errors import MissingExtra, ModelError
from limelight.export.lower import line, lower
from limelight.step import Step

if TYPE_CHECKING:
    import onnx
    import onnxruntime

OPSET = 20
IMAGE, CLASSES = "image", "class_index"
"""The names of a graph's inputs."""
TOLERANCE, FLIPPED = 1e-3, 0.05
"""How far maps, in [0, 1], may be from the step's own: on most images, and on any. Engines round differently, and where
an activation next to zero changes sign its gradient switches on or off, which a map of few cells shows."""
ROUNDING = 1e-3
"""How far class scores may be, as a share of the largest."""


@dataclass(frozen=True)
class Agreement:
    """How far a model's answers are from the step's, over the images that were tried.

    Attributes:
        map: of maps in [0, 1], the largest difference on the median image.
        worst_map: the same on the worst image.
        raw: of raw maps, as a share of the image's largest value, on the median image.
        scores: of class scores, as a share of the largest, on the worst image.
        classes: the share of maps that are about the same class.
        images: how many were compared.
    """

    map: float
    worst_map: float
    raw: float
    scores: float
    classes: float
    images: int

    @property
    def good(self) -> bool:
        """Whether the answers are the same, up to rounding and what it can flip."""
        near = self.map <= TOLERANCE and self.worst_map <= FLIPPED and self.scores <= ROUNDING
        return near and self.classes == 1  # a NaN is near nothing

    def __str__(self) -> str:
        return (
            f"maps within {self.map:.0e} (worst image {self.worst_map:.0e}), scores within {self.scores:.0e} of the "
            f"largest, {self.classes:.0%} about the same class, on {self.images} images"
        )


def to_onnx(step: Step, images: Tensor, classes: Tensor | None = None, batch: int | None = None) -> onnx.ModelProto:
    """The step as an ONNX model, with inputs ``image[, class_index]`` and outputs ``scores, classes, raw, map``.

    Args:
        step: what is exported.
        images: one example, (1, channels, height, width); its size is the model's.
        classes: one example, (1,), where the step takes them.
        batch: how many images at once; None for any number.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
        ModelError: the network can't be recorded, or uses an operation that ONNX has no form for; it is named.
    """
    require("onnx", "onnxscript")
    rows = 2 if batch is None else batch
    examples = tuple(torch.cat([each] * rows) for each in (images, classes) if each is not None)
    graph = lower(step, *examples)
    free = {0: torch.export.Dim("batch")} if batch is None else None
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
                dynamic_shapes=(free,) * len(examples),
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
        raise ModelError(f"ONNX Runtime can't run it: {line(error)}") from error


def compared(step: Step, running: onnxruntime.InferenceSession, batches: Sequence[Sequence[Tensor]]) -> Agreement:
    """How far the session's answers are from the step's on some batches ``(images[, classes])``."""
    off: dict[str, list[float]] = {"map": [], "raw": [], "scores": []}
    same: list[float] = []
    for batch in batches:
        wanted = step(*batch).named
        feed = {name: tensor.numpy() for name, tensor in zip((IMAGE, CLASSES), batch, strict=False)}
        for (name, want), got in zip(wanted.items(), running.run(list(wanted), feed), strict=True):
            found = torch.from_numpy(got)
            if name == "classes":
                same.append((found == want).double().mean().item())
                continue
            distance, size = (found - want).abs().flatten(1), want.abs().flatten(1)
            share = distance.amax(dim=1) / (1 if name == "map" else size.amax(dim=1).clamp(min=1e-12))
            off[name.partition("_")[0]] += share.tolist()
    maps = off["map"]
    return Agreement(median(maps), max(maps), median(off["raw"]), max(off["scores"]), mean(same), len(maps))


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
    return line(said[-1])


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
