"""The one-call interface: photographs or tensors in, an :class:`~limelight.explanation.Explanation` out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from limelight.answers import predictions_of, probabilities_asked
from limelight.borrow import borrowed, unwrap
from limelight.cut import AUTO, Captured, Cut, LayerSpec, Site, resolve
from limelight.detectors import View, levels_of
from limelight.errors import (
    InputError,
    LayerError,
    LimelightError,
    MethodError,
    ModelError,
    SharedLayerWarning,
    TargetError,
    ZeroMapWarning,
)
from limelight.explanation import Explanation, Origin
from limelight.fallback import WITHOUT_GRADIENT, sealed, told_of
from limelight.foreign import RunsOnnx, is_script, opened
from limelight.grid import Layout, default_layer
from limelight.heatmap import check_fusion
from limelight.methods.for_all import EvidenceForAll
from limelight.methods.registry import Method, get
from limelight.models import Model
from limelight.nested import Inputs, describe, first_tensor, main_output
from limelight.preparing import Prepare, parts_of, photos_of, tensors_of
from limelight.preprocessing import Fit
from limelight.progress import gauge, tracked, watched
from limelight.targets import (
    Candidates,
    Labels,
    Target,
    ask,
    check,
    logits_of,
    part,
    questions,
)
from limelight.telling import Listener, listening
from limelight.usefulness import auto_layer

if TYPE_CHECKING:
    pass

LONG = 4
"""From more batches than this on, a progress bar is worth its line."""


def explain(
    model: Model | nn.Module | RunsOnnx,
    images: Any,
    target: Target = None,
    method: str | Method | Callable[..., Tensor] = "gradcam",
    layer: LayerSpec | None = None,
    *,
    layout: str | None = None,
    fit: Fit = "crop",
    fusion: str = "mean",
    batch_size: int = 16,
    progress: bool | None = None,
) -> Explanation:
    """Say what the network sees in each image, and where it looked.

    Args:
        model: what :func:`limelight.load` gives, any ``nn.Module``, or an ``onnxruntime.InferenceSession``, which is
            only run. It leaves the call as it entered.
        images: for a loaded model a path, a PIL image, a uint8 array ``(height, width[, channels])``, or a list of
            those; for any network a float tensor ``(batch, channels, *grid)``, already preprocessed: a picture has a
            height and a width, a signal a length, a volume or a clip three dimensions. A network that takes more is
            given a tuple of tensors, a dictionary by its parameters' names, or ``limelight.Inputs(args, options)``.
        target: None for the predicted class; a class index or label; a callable ``outputs -> (batch,)`` scores;
            ``each(...)`` or ``top(k)`` for several targets of every image; or a list, one target for each image.
            Scores are logits unless wrapped in ``probability``, ``log_probability`` or ``rest``; ``counter`` negates
            and ``contrast`` subtracts. ``classes`` asks for all above a threshold, ``region`` a segmenter, ``box`` and
            ``detections`` a detector, ``similar`` an embedding, ``word``, ``words`` and ``sentence`` a captioner.
        method: a name from ``limelight methods``, or a function of the same shape, such as
            ``lambda activations, gradients: ...`` giving ``(batch, *grid)``.
        layer: a name, a glob, a module, or a list of those; "auto" for the layers whose maps are worth most for these
            images (:func:`limelight.layers`), by the first ``batch_size`` of them; None for the default: the last layer
            that has a grid and that the outputs depend on at every cell.
        layout: how that layer lays out its cells, where it can't be found: its axes from left to right, such as
            "batch height width channels" or "batch (1 + height width) channels" (:mod:`limelight.grid.layout`).
        fit: how a photograph becomes the network's input: "crop" as the network is evaluated, "whole" squeezes all of
            it in, "pad" letter-boxes it.
        fusion: how the maps of several layers become one: "mean", "max" or "product".
        batch_size: how many images run at once.
        progress: show a progress bar; None shows one for long work at a terminal.

    Raises:
        InputError, ModelError, LayerError, TargetError, MethodError: what was wrong and what to do.

    Warns:
        ZeroMapWarning: a map has no evidence for its target.
        SharedLayerWarning: the layer ran more than once and no call was chosen.
        FallbackWarning: the network keeps no graph, and was explained by a method that needs none.
    """
    (explanation,) = _explain_with(
        model,
        images,
        [get(method)],
        target,
        _Place(layer, layout),
        fit,
        fusion,
        batch_size=batch_size,
        progress=progress,
    )
    return explanation


def compare(
    model: Model | nn.Module | RunsOnnx,
    images: Any,
    methods: Sequence[str | Method | Callable[..., Tensor]],
    target: Target = None,
    layer: LayerSpec | None = None,
    *,
    layout: str | None = None,
    fit: Fit = "crop",
    fusion: str = "mean",
    batch_size: int = 16,
    progress: bool | None = None,
) -> dict[str, Explanation]:
    """Several methods on the same images and targets, sharing forward passes: an explanation for each method's label.

    The arguments, and what is raised, are those of :func:`explain`. The label is the name, with the settings that are
    not the defaults: "scorecam(top=64)".
    """
    chosen = [get(method) for method in methods]
    labels = [method.label for method in chosen]
    if again := {label for label in labels if labels.count(label) > 1}:
        raise MethodError(f"two methods are called {', '.join(sorted(again))}: give functions names of their own")
    explanations = _explain_with(
        model, images, chosen, target, _Place(layer, layout), fit, fusion, batch_size=batch_size, progress=progress
    )
    return dict(zip(labels, explanations, strict=True))


def _explain_with(
    model: Model | nn.Module | RunsOnnx,
    images: Any,
    methods: Sequence[Method],
    target: Target,
    place: _Place,
    fit: Fit,
    fusion: str,
    *,
    batch_size: int,
    progress: bool | None,
) -> list[Explanation]:
    """One explanation for each method."""
    network, labels, preprocessing = parts_of(model)
    if any(tensor.is_inference() for tensor in islice(network.parameters(), 1)):
        raise ModelError(
            "the network was made inside torch.inference_mode(), which rules out gradients: make it outside"
        )
    check_fusion(fusion)
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size}: at least one image must run at once")
    scripted = is_script(network)
    if not scripted:
        place.check(network)
    source = tensors_of(images, network) or photos_of(images)
    check(target, len(source), labels)
    prepare = Prepare(network, preprocessing, fit)
    if scripted:  # converted for inputs of one shape: one image at a time
        network, batch_size = opened(network, prepare(source[0:1]).inputs), 1
        place.check(network)
    starts = range(0, len(source), batch_size)
    parts: list[list[Explanation]] = []
    whole, instead = None, [get(WITHOUT_GRADIENT)] * len(methods)
    shown = watched() if progress is None else progress
    many = len(starts) > LONG or (progress is True and len(starts) > 1)
    for start in tracked(starts, "explaining", len(starts), shown and many):
        stop = min(start + batch_size, len(source))
        batch = prepare(source[start:stop])
        try:
            with gauge(shown and not many) as tell:  # one bar at a time
                asked = part(target, start, stop, len(source))
                run = partial(_explain_batch, batch.inputs, asked, labels, place, start, tell)
                try:
                    found = run(network, methods) if whole is None else run(whole, instead)
                except LayerError:
                    if whole or place.layer is not None or not sealed(network, batch.inputs, asked, labels):
                        raise
                    whole = told_of(network)
                    found = run(whole, instead)
        except LimelightError:
            raise
        except (RuntimeError, TypeError) as error:  # the network's own: it stays what it is, with what we know added
            shape = tuple(batch.image.shape)
            error.add_note(
                f"while limelight ran {type(network).__name__} on images of shape {shape}: does it take such?"
            )
            raise
        seen = {"fusion": fusion, "photos": batch.photos, "views": batch.views, "inputs": batch.shown}
        seen["questions"] = questions(target, start, stop, len(source))
        judged = batch.inputs.alone and not isinstance(network, View)
        seen["origin"] = Origin(network, labels, prepare) if judged else None
        parts.append([Explanation(**facts, **seen) for facts in found])
        if place.layer == AUTO:  # maps of one call are of the same layers
            place = replace(place, layer=list(parts[0][0].layers))
        if len(starts) > 1:
            for photo in batch.photos:
                photo.release()
    explanations = [Explanation.join(of_method) for of_method in zip(*parts, strict=True)]
    for explanation in explanations:
        _warn_of_zero_maps(explanation)
    return explanations


def _explain_batch(
    inputs: Inputs,
    target: Target,
    labels: Labels,
    place: _Place,
    first: int,
    tell: Callable[[str, int, int], None],
    network: nn.Module,
    methods: Sequence[Method],
) -> list[dict[str, Any]]:
    """Everything that an explanation holds and that comes from the network: for one batch, for each method.

    ``first`` is the number of the batch's first image among all of them; ``tell`` is told what a long method has done.
    """
    with borrowed(unwrap(network)):
        passes = _Passes(network, inputs, first)
        if place.layer == AUTO:
            place = replace(place, layer=auto_layer(network, inputs, target, labels, methods[0]))
        captures = [passes.for_(method, place) for method in methods]
        asked = ask(target, captures[0].outputs, labels)
        evidence = {
            id(captured): EvidenceForAll(network, captured, asked, last=len(methods) == 1) for captured in captures
        }
        outputs = captures[0].outputs
        answers = {
            "targets": [list(row) for row in zip(*(one.named for one in asked), strict=True)],
            "probabilities": probabilities_asked(asked, outputs, labels, len(inputs)),
            "predictions": predictions_of(outputs, labels, len(inputs)),
            "input_size": () if inputs.image is None else tuple(inputs.image.shape[2:]),
            "canvas": outputs.canvas if isinstance(outputs, Candidates) else None,
        }
        found = []
        for method, captured in zip(methods, captures, strict=True):
            with listening(Listener(partial(tell, method.title))) as heard:
                raws = tuple(evidence[id(captured)].raw_maps(method))
            _check_finite_maps(raws, captured, method)
            names = tuple(str(site) for site in captured.sites)
            scores = evidence[id(captured)].scores
            stability = _stability(heard.stabilities, len(asked), len(raws))
            facts = {"raws": raws, "layers": names, "method": method.label, "scores": scores, "stability": stability}
            found.append({**facts, **answers})
        return found


def _stability(told: Sequence[Tensor], targets: int, layers: int) -> Tensor | None:
    """``(batch, targets)`` from one estimate for each target and layer, of whose layers the least stable counts."""
    if len(told) != targets * layers:  # none, or a method that makes several
        return None
    return torch.stack(list(told)).unflatten(0, (targets, layers)).amin(dim=1).T.cpu()


@dataclass(frozen=True)
class _Place:
    """Where to cut, as the caller said it: a layer, and how it lays out its cells."""

    layer: LayerSpec | None
    layout: str | None

    def check(self, network: nn.Module) -> None:
        """Find what is wrong with it before anything is read."""
        if self.layout is not None:
            Layout.parse(self.layout)
            if self.layer is None or self.layer == AUTO:
                raise LayerError("layout= says how one layer is laid out: say which, with layer=")
        if self.layer is not None and self.layer != AUTO:
            resolve(network, self.layer)


class _Passes:
    """Forward passes on one batch, one for each place to cut."""

    def __init__(self, network: nn.Module, inputs: Inputs, first: int):
        self.network = network
        self.inputs = inputs
        self.first = first
        self.done: dict[Any, Captured] = {}

    def for_(self, method: Method, place: _Place) -> Captured:
        """The pass that a method asks: cut where it is told, or where the method says and under what it says."""
        if place.layer is not None:
            return self.cut_at(place.layer, layout=place.layout)
        return self.cut_at(method.layer, method.watch)

    def cut_at(
        self,
        layer: LayerSpec | None,
        watch: Callable[[nn.Module, Inputs], AbstractContextManager[Any]] | None = None,
        layout: str | None = None,
    ) -> Captured:
        key = (layer if isinstance(layer, str | None) else id(layer)), watch
        if key not in self.done:
            args, options = self.inputs.args, self.inputs.options
            cut = _default_cut(self.network, self.inputs) if layer is None else Cut.at(self.network, layer)
            if layout is not None:
                cut = replace(cut, sites=tuple(replace(site, layout=layout) for site in cut.sites))
            with nullcontext() if watch is None else watch(self.network, self.inputs) as watching:
                captured = cut.capture(*args, **options)
            if watch is not None:
                captured.remembered[watch] = watching
            _check_outputs(self.network, captured, self.inputs, self.first)
            _tell_shared_layers(cut.sites, captured)
            self.done[key] = captured
        return self.done[key]


def _default_cut(network: nn.Module, inputs: Inputs) -> Cut:
    """Where to cut unless told: of a feature pyramid at every level, one of which feeds a box; or at one layer."""
    first = inputs[0:1]
    if levels := levels_of(network, first.args, first.options):
        cut = Cut.at(network, levels)
        sites = tuple(replace(site, layout="batch channels height width") for site in cut.sites)
        return replace(cut, sites=sites, any_of=True)
    return Cut.at(network, default_layer(network, *inputs.args, **inputs.options))


def _check_outputs(network: nn.Module, captured: Captured, inputs: Inputs, first: int) -> None:
    image, outputs = inputs.image, logits_of(captured.outputs)
    if outputs is not None and len(outputs) != len(inputs) and main_output(captured.outputs).ndim < 2:
        raise TargetError(
            f"the outputs are {describe(captured.outputs)} for {len(inputs)} image{'s' * (len(inputs) != 1)}, neither "
            "class scores (batch, classes) nor one number an image: does the network squeeze its batch away?"
        )
    if outputs is None:
        outputs = first_tensor(captured.outputs)
    if outputs is None or not (bad := outputs.isnan().flatten(1).any(dim=1)).any():
        return
    images = (first + bad.nonzero().flatten()).tolist()
    if broken := [
        name for name, tensor in network.state_dict().items() if isinstance(tensor, Tensor) and tensor.isnan().any()
    ]:
        raise ModelError(f"the network's outputs are NaN, because its weights are: NaN in {', '.join(broken[:3])}")
    if image is None or not image.isfinite().all():
        raise InputError(f"the network's outputs are NaN for images {images}, because the images hold NaN or infinity")
    raise ModelError(
        f"the network's outputs are NaN for images {images} although weights and images are finite: it overflows in "
        f"{image.dtype}; try another precision, or check the preprocessing"
    )


def _check_finite_maps(raws: Sequence[Tensor], captured: Captured, method: Method) -> None:
    for raw, site in zip(raws, captured.sites, strict=True):
        if not raw.sum().isfinite() and not raw.isfinite().all():  # quick, and then properly
            raise ModelError(
                f"method '{method.name}' gives NaN or infinity at layer '{site}': a gradient or activation overflows "
                f"there ({captured.activations[0].dtype}); try float32, or another layer"
            )


def _tell_shared_layers(asked: Sequence[Site], captured: Captured) -> None:
    for site, taken, calls in zip(asked, captured.sites, captured.calls, strict=True):
        if site != taken:
            warnings.warn(
                f"layer '{site}' ran {calls} times in this pass; its last call is explained. "
                f"Write '{site}@1' to '{site}@{calls}' to choose one",
                SharedLayerWarning,
                stacklevel=6,
            )


def _warn_of_zero_maps(explanation: Explanation) -> None:
    told = [(i, text) for i, row in enumerate(explanation.warnings) for text in row if text]
    if told:
        i, text = told[0]
        more = f" (and {len(told) - 1} more such maps: see .warnings)" if len(told) > 1 else ""
        warnings.warn(f"image {i}: {text}{more}", ZeroMapWarning, stacklevel=4)
