"""``compile``: a network and its explanation as one graph on ONNX Runtime, shown equal before it is given."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from limelight.borrow import borrowed, unwrap
from limelight.colormaps import DEFAULT, colormap
from limelight.cut import LayerSpec
from limelight.errors import InputError, LimelightWarning, ModelError, TargetError
from limelight.export import to_onnx
from limelight.export.agreement import SLACK, Agreement, compared
from limelight.export.pixels import from_pixels
from limelight.export.program import Program, program
from limelight.export.reduced import Fidelity, Precision, reduced
from limelight.files import write_whole
from limelight.heatmap import shown
from limelight.methods.registry import Method, get
from limelight.models import Model, load
from limelight.preparing import channels_of
from limelight.preprocessing import Fit, Preprocessing
from limelight.step import Answer, Step, step_of
from limelight.targets import Target

if TYPE_CHECKING:
    import onnx

TRIED = (1, 4)
"""The batches that a graph is compared on; of a graph of a fixed batch, as many images or more."""
OTHER = (32, 64)
"""By how much an image is larger than the example that a graph of any size is compared on."""

COARSE = 0.05
"""How far maps may be off in fewer bits where a pixel is rounded to the next level, which int8 may round further."""


FIXED = "{} fixes the size of its images: compile it without any_size"


def compile(
    model: Model | nn.Module,
    method: str | Method | Callable[..., Tensor] = "gradcam",
    layer: LayerSpec | None = None,
    target: Target = None,
    *,
    size: tuple[int, int] | int | None = None,
    fusion: str = "mean",
    batch: int | None = None,
    any_size: bool = False,
) -> Compiled:
    """Make one graph of the network and its explanation, pull-back included, that runs on ONNX Runtime.

    Args:
        model: what :func:`limelight.load` gives, or any ``nn.Module`` on the CPU in single precision.
        method: one that needs activations and gradients of a single pass.
        layer: as for :func:`limelight.explain`.
        target: None for the predicted class; a class index or label; ``top(k)``; ``GIVEN`` for a class index an image
            that is said with each batch; ``probability``, ``log_probability`` or ``counter`` of one of those.
        size: the input's height and width, or its side; None for the loaded model's own.
        fusion: how the maps of several layers become one: "mean", "max" or "product".
        batch: how many images at once; None for any number.
        any_size: let images have any height and width, where the network does; ``size`` is then that of the example.

    Returns:
        The graph, after it answered as the network itself does, to rounding, on images of noise.

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        LayerError, MethodError, TargetError: what was wrong and what to do.
        ModelError: the network can't be exported (the operation is named), or the graph does not answer as it does.

    Warns:
        LimelightWarning: the network fixes how many images it takes at once, so the graph takes one.
    """
    to_onnx.require("onnx", "onnxscript", "onnxruntime")
    loaded = load(model)
    _check_plain(loaded.network)
    images = noise(loaded, size, 1, 0)
    height, width = images.shape[2:]
    other = height + OTHER[0], width + OTHER[1]
    if any_size:
        _check_size(loaded, other)
    step = step_of(loaded.network, images, get(method), layer, target, loaded.labels, fusion)
    given = torch.zeros(1, dtype=torch.int64) if step.asks else None
    graph = to_onnx.to_onnx(step, images, given, batch, any_size=any_size)
    if any_size and None not in sizes_of(graph)[2:]:
        raise ModelError(FIXED.format(loaded.name))
    if batch is None and not _takes_any_batch(graph):
        warnings.warn(
            f"{loaded.name} fixes how many images it takes at once, so the graph takes one",
            LimelightWarning,
            stacklevel=2,
        )
        batch = 1
        graph = to_onnx.to_onnx(step, images, given, batch, any_size=any_size)
    rows = TRIED if batch is None else (batch,) * math.ceil(sum(TRIED) / batch)
    classes = _classes(step, images)
    batches = [_batch(loaded, step, size, count, number, classes) for number, count in enumerate(rows, start=1)]
    if any_size:
        batches.append(_batch(loaded, step, other, rows[0], 0, classes))
    agreement = compared(step, to_onnx.runner(to_onnx.session(graph)), batches)
    if not agreement.good:
        raise ModelError(f"the graph of {loaded.name} does not answer as the network does: {agreement}")
    return Compiled(loaded, step, graph, agreement, batch)


def _check_size(loaded: Model, size: tuple[int, int]) -> None:
    """See, before minutes are spent on a graph, that the network takes images of this size too.

    Raises:
        ModelError: it does not.
    """
    try:
        with borrowed(unwrap(loaded.network)):
            loaded.network(noise(loaded, size, 1, 0))
    except RuntimeError as error:
        raise ModelError(FIXED.format(loaded.name)) from error


@dataclass(frozen=True, eq=False)
class Compiled:
    """A network and its explanation as one graph; calling it answers for a batch.

    Attributes:
        model: what was compiled.
        step: the question.
        graph: the ONNX model.
        agreement: how far its answers are from the network's own.
        batch: how many images it takes at once; None for any number.
        precision: "float32", or what :meth:`reduced` made of it.
        fidelity: what that cost; None in single precision.
    """

    model: Model
    step: Step = field(repr=False)
    graph: onnx.ModelProto = field(repr=False)
    agreement: Agreement
    batch: int | None = None
    precision: str = "float32"
    fidelity: Fidelity | None = None

    def __call__(self, images: Tensor, classes: Sequence[int] | Tensor | None = None) -> Answer:
        """Answer for preprocessed ``images`` (batch, channels, height, width), on the CPU.

        ``classes`` are indices, one an image, where the target is GIVEN.

        Raises:
            InputError: images of another shape than it was compiled for.
            TargetError: classes are missing, too many, or not asked for.
        """
        if not self.step.asks and classes is not None:
            raise TargetError("the target was settled when it was compiled: compile with target=GIVEN to give classes")
        given = [] if classes is None else [torch.as_tensor(classes, dtype=torch.int64).cpu()]
        if self.step.asks and sum(map(len, given)) != len(images):
            raise TargetError(f"{sum(map(len, given))} classes for {len(images)} images: give one index an image")
        wanted = self.input_shape
        if images.ndim != 4 or any(size not in (None, own) for size, own in zip(wanted, images.shape, strict=True)):
            said = ", ".join("batch" if size is None else str(size) for size in wanted)
            raise InputError(f"images of shape {tuple(images.shape)}: this was compiled for ({said})")
        found = self.run(images.detach().cpu().float(), *given)
        raws = tuple(value for name, value in found.items() if name.startswith("raw"))
        return Answer(found["scores"], found["classes"], raws, found["map"])

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """``(batch, channels, height, width)``; None for any number."""
        return sizes_of(self.graph)

    @property
    def input_size(self) -> tuple[int, int] | None:
        """The input's height and width; None for any."""
        *_, height, width = self.input_shape
        return None if height is None or width is None else (height, width)

    @cached_property
    def session(self) -> Any:
        """The ONNX Runtime session it runs in."""
        return to_onnx.session(self.graph, batch=self.batch)

    @cached_property
    def run(self) -> Callable[..., dict[str, Tensor]]:
        """The session on tensors ``images[, classes]``; what it gives, by name."""
        return to_onnx.runner(self.session)

    @property
    def facts(self) -> dict[str, Any]:
        """What a file says of itself."""
        from limelight import __version__

        step, model = self.step, self.model
        return {
            "limelight": __version__,
            "torch": torch.__version__,
            "model": model.name,
            "weights": model.weights,
            "licence": _licence(model),
            "method": step.method.label,
            "source": step.method.source,
            "layers": [str(site) for site in step.cut.sites],
            "target": _asked(step.target),
            "fusion": step.fusion,
            "labels": list(model.labels) if model.labels else None,
            "preprocessing": model.preprocessing.as_dict() if model.preprocessing else None,
            "opset": to_onnx.OPSET,
            "agreement": asdict(self.agreement),
            "precision": self.precision,
            "fidelity": self.fidelity and asdict(self.fidelity),
            "colours": colormap(DEFAULT).tobytes().hex(),
        }

    def reduced(self, precision: Precision, images: Tensor) -> Compiled:
        """The same in half precision or int8, measured on ``images``: see :func:`limelight.export.reduced.reduced`."""
        return reduced(self, precision, images)

    def program(self) -> Program:
        """The same question as a ``torch.export`` program, checked anew: see :mod:`limelight.export.program`."""
        count = self.batch or max(TRIED)
        size = self.input_size or (None if self.model.preprocessing else (64, 64))
        tried = [noise(self.model, size, count, seed) for seed in range(1, 3)]
        classes = [torch.zeros(count, dtype=torch.int64)] if self.step.asks else []
        return program(self, [(images, *classes) for images in tried])

    def from_pixels(self, fit: Fit = "crop") -> onnx.ModelProto:
        """The graph as one that takes a photograph's pixels, (height, width, 3) uint8 RGB of any size.

        Its map has the photograph's size. ``fit`` is as for :func:`limelight.explain`.

        Raises:
            InputError: nothing is known of the network's preprocessing, or the graph was compiled for another size.
        """
        own = self.model.preprocessing
        if own is None:
            raise InputError(
                f"{self.model.name} comes without preprocessing, so it can't take photographs: give "
                "limelight.load(network, preprocessing=limelight.Preprocessing(...))"
            )
        one, (height, width) = self.graph, self.input_size or own.size
        if self.fidelity is not None and (self.batch != 1 or self.input_size is None):
            raise InputError(f"a graph of photographs in {self.precision} is made of one for a single image: batch=1")
        if self.batch != 1 or self.input_size is None:
            given = torch.zeros(1, dtype=torch.int64) if self.step.asks else None
            one = to_onnx.to_onnx(self.step, torch.zeros(1, own.channels, height, width), given, batch=1)
        own = replace(own, size=(height, width))
        whole = from_pixels(one, own, fit, self.step.fusion)
        _check_pixels(whole, one, self.step, own, fit, SLACK if self.fidelity is None else COARSE)
        return _described(whole, {**self.facts, "fit": fit})

    def save(self, path: str | os.PathLike[str], fit: Fit | None = None) -> Path:
        """Write the graph as an ONNX file, with what it is in its metadata; gives the path.

        ``fit``: None for a graph of preprocessed images; otherwise one of photographs, as :meth:`from_pixels` makes.

        Raises:
            InputError: it can't be written, or can't take photographs.
        """
        graph = _described(self.graph, self.facts) if fit is None else self.from_pixels(fit)
        return write_whole(path, graph.SerializeToString())


def _described(graph: onnx.ModelProto, facts: dict[str, Any]) -> onnx.ModelProto:
    """A copy of the graph that says of itself what is known: text as it is, anything else as JSON."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    copy.producer_name, copy.producer_version = "limelight", facts["limelight"]
    to_onnx.describe(copy, {key: _text(value) for key, value in facts.items() if value is not None})
    return copy


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _licence(model: Model) -> str | None:
    """Of the weights, where the model still has those that its library published."""
    from limelight.models.catalogue import find

    if model.weights in ("random", "as given"):
        return None
    try:
        architecture = find(model.name)
    except ModelError:  # a checkpoint, or a network of the caller's
        return None
    return architecture.licence if str(architecture.weights) == model.weights else None


def _asked(target: Target) -> str:
    return "the predicted class" if target is None else str(target)


def _check_plain(network: nn.Module) -> None:
    """Raises ModelError for a network that is not on the CPU in single precision, as a graph will be."""
    for tensor in network.state_dict().values():
        if isinstance(tensor, Tensor) and (
            tensor.device.type != "cpu" or (tensor.is_floating_point() and tensor.dtype != torch.float32)
        ):
            raise ModelError(
                f"the network holds {tensor.dtype} on {tensor.device}: it is exported from the CPU in single "
                "precision, network.cpu().float()"
            )


def noise(model: Model, size: tuple[int, int] | int | None, count: int, seed: int) -> Tensor:
    """Images of noise, of the size that the graph is for."""
    own = model.preprocessing
    if size is None:
        if own is None:
            raise InputError(
                f"{model.name} comes without preprocessing: say the input's size=(height, width), or --input-size"
            )
        size = own.size
    height, width = (size, size) if isinstance(size, int) else size
    channels = own.channels if own else channels_of(model.network)
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


def _classes(step: Step, images: Tensor) -> int:
    with torch.no_grad():
        given = torch.zeros(1, dtype=torch.int64) if step.asks else None
        return step(images, given).scores.shape[1]


def _batch(
    model: Model, step: Step, size: tuple[int, int] | int | None, count: int, seed: int, classes: int
) -> tuple[Tensor, ...]:
    images = noise(model, size, count, seed)
    if not step.asks:
        return (images,)
    return images, torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


def sizes_of(graph: onnx.ModelProto) -> tuple[int | None, ...]:
    """The sizes of a graph's images; None for any."""
    dimensions = graph.graph.input[0].type.tensor_type.shape.dim
    return tuple(None if each.dim_param else each.dim_value for each in dimensions)


def _takes_any_batch(graph: onnx.ModelProto) -> bool:
    each = [*graph.graph.input, *graph.graph.output]
    return all(value.type.tensor_type.shape.dim[0].dim_param for value in each)


def _check_pixels(
    whole: onnx.ModelProto, graph: onnx.ModelProto, step: Step, preprocessing: Preprocessing, fit: Fit, most: float
) -> None:
    """Raises ModelError unless a photograph of noise is answered as its preprocessed image is, placed by limelight."""
    pixels = torch.randint(256, (3, 123, 234), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image, view = preprocessing(pixels, fit)
    given = [torch.tensor([-1])] if step.asks else []
    answer = to_onnx.runner(to_onnx.session(graph))(image[None], *given)
    raws = [answer[name] for name in answer if name.startswith("raw")]
    found = to_onnx.runner(to_onnx.session(whole))(pixels.permute(1, 2, 0), *given)["map"]
    off = (found - shown(raws, (123, 234), view.box, step.fusion)).abs().max().item()
    if not off <= most:
        raise ModelError(f"the graph with its preprocessing is {off:.1e} off the maps that limelight draws")
