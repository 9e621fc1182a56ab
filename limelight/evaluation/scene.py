"""Pictures and what the network says of them, asked once and shared by every map that is measured on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from limelight.borrow import borrowed, unwrap
from limelight.cut import INPUT, Captured, Cut, LayerSpec
from limelight.errors import InputError, MetricError
from limelight.evaluation.perturb import Fill, fill
from limelight.evaluation.segments import superpixels
from limelight.evaluation.subsets import Dropped, cells_of, dropped, random_subsets, varied
from limelight.foreign import opened
from limelight.head import Head, at_least_single
from limelight.memory_format import channels_last
from limelight.methods.perturbation import occlusion
from limelight.models import Model
from limelight.nested import Inputs
from limelight.targets import Asked, Target, ask, class_scores, logits_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from limelight.engines import Engine

T = TypeVar("T")
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
"""How far an engine's scores of the pictures may be from the network's: in probability, or of the largest score."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Pictures and what the network says of them: what every map of these pictures is measured with.

    Attributes:
        network: the network, in whatever mode; it is borrowed for each question and given back.
        images: ``(batch, channels, rows, columns)``, what is perturbed: the inputs, or a layer's activations.
        inputs: ``(batch, channels, height, width)``, what the network was given.
        asked: the target, settled: one score an image.
        head: altered images to scores, a few at a time.
        scores: ``(batch,)``, of the images as they are.
    """

    network: nn.Module
    images: Tensor = field(repr=False)
    inputs: Tensor = field(repr=False)
    asked: Asked = field(repr=False)
    head: Head = field(repr=False)
    scores: Tensor = field(repr=False)
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        model: Model | nn.Module,
        inputs: Float[Tensor, "batch channels height width"],
        target: Target = None,
        *,
        scale: str = "probability",
        layer: LayerSpec | None = None,
        engine: Engine | None = None,
    ) -> Scene:
        """Run the network once on ``inputs`` and settle what it is asked.

        Args:
            model: a network, or what :func:`limelight.load` gives.
            inputs: the pictures, preprocessed.
            target: as :func:`limelight.explain` takes it, one question an image; None for the predicted class.
            scale: on which a class is scored: "probability" (the metrics' papers), "logit" or "log probability".
            layer: perturb this layer's activations instead of the pictures: the network's head alone is run. The layer
                must give ``(batch, channels, rows, columns)``.
            engine: what runs the altered pictures in the network's place, which then settles the target alone: its
                scores of the pictures must be the network's within :data:`TOLERANCE`. Methods that are asked for more
                maps ask the network.

        Raises:
            InputError: the inputs are no batch of pictures.
            TargetError: the target does not fit the outputs.
            LayerError: there is no such layer.
            MetricError: the layer has no grid of rows and columns; or the engine does not answer as the network does,
                can't run a layer's head, or is asked for what is no class score.
        """
        if not isinstance(inputs, Tensor) or inputs.ndim != 4 or not len(inputs):
            raise InputError("inputs must be a float tensor (batch, channels, height, width), with a picture at least")
        network, labels = (model.network, model.labels) if isinstance(model, Model) else (model, None)
        network = unwrap(opened(network, Inputs((inputs,))))
        ours = engine is None or engine.name in ("eager", "compile")

        def run(given: Tensor) -> Captured:
            return _run(network, given) if layer is None else Cut.at(network, layer).capture(given)

        with borrowed(network):
            captured = channels_last(run, inputs) if ours and inputs.device.type == "cpu" else run(inputs)
            inputs = captured.inputs[0][0]
            asked = ask(target, captured.outputs, labels)
            if len(asked) != 1:
                raise MetricError(f"metrics ask one question an image, and {len(asked)} were given")
            one = _on_scale(asked[0], scale)
            images = at_least_single(captured.activations[0].detach())
            if images.ndim != 4:
                raise MetricError(f"layer '{captured.sites[0]}' has no grid of rows and columns to take cells from")
            scores = one.score(captured.outputs).detach()
            if engine is not None:
                if layer is not None:
                    raise MetricError(f"engine {engine.name} runs the whole network: leave out layer=, or the engine")
                if not isinstance(captured.outputs, Tensor) or captured.outputs.ndim != 2:
                    raise MetricError(f"engine {engine.name} gives class scores, and the network's outputs are others")
                captured = _run(_Instead(engine), inputs)
                scores = _agreeing(one.score(captured.outputs), scores, engine)
        return cls(network, images, inputs, one, Head(captured, 0, one), scores)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of what is perturbed."""
        return self.images.shape[-2], self.images.shape[-1]

    def once(self, key: Any, work: Callable[[], T]) -> T:
        """What ``work`` gives, worked out once for these pictures."""
        if key not in self._known:
            self._known[key] = work()
        return self._known[key]

    def fill(self, baseline: str) -> Fill:
        """How removed pixels are replaced (see :func:`limelight.evaluation.perturb.fill`)."""
        return self.once(("fill", baseline), lambda: fill(self.images, baseline))

    def without(self, baseline: str) -> Float[Tensor, "batch"]:
        """The scores when nothing of the pictures is left."""

        def gone(few: Tensor) -> Tensor:
            return self.fill(baseline)(few.new_ones(1, *self.images[:, 0].shape, dtype=torch.bool))

        return self.once(("without", baseline), lambda: self.ask(gone, 1)[0])

    def ask(self, alter: Callable[[Tensor], Tensor], count: int) -> Float[Tensor, "count batch"]:
        """The scores of ``count`` altered versions of every image: ``(few,)`` indices -> ``(few, batch, ...)``."""
        with borrowed(self.network):
            return self.head.scores(alter, count)

    def subsets(self, samples: int, side: int, share: float, baseline: str, seed: int = 0) -> Dropped:
        """Random subsets of a grid's cells, and what the score loses without them."""
        drawn = random_subsets(samples, len(self._cells(side)), share, seed)
        key = ("subsets", samples, side, share, baseline, seed)
        return self.once(key, lambda: dropped(self, drawn, side, baseline))

    def singles(self, side: int, baseline: str) -> Dropped:
        """Each cell of a grid alone, and what the score loses without it."""
        one = torch.eye(len(self._cells(side)), dtype=torch.bool)
        return self.once(("singles", side, baseline), lambda: dropped(self, one, side, baseline))

    def variations(self, side: int, samples: int, seed: int = 0) -> Float[Tensor, "cells batch"]:
        """The mean square of what the score changes by when a cell's pixels are drawn anew."""
        return self.once(("variations", side, samples, seed), lambda: varied(self, side, samples, seed))

    def segments(self, count: int) -> Int[Tensor, "batch rows columns"]:
        """Superpixels of each picture."""
        return self.once(("segments", count), lambda: superpixels(self.images, count))

    def occlusion(self, window: int) -> Float[Tensor, "batch rows columns"]:
        """What the score loses when a grey window, a ``window``-th of the shorter side wide, covers each place."""

        def work() -> Tensor:
            with borrowed(self.network):
                return occlusion(self.images, self.head, self.scores, window=max(1, min(self.size) // window))

        return self.once(("occlusion", window), work)

    def predicted(self, alter: Callable[[Tensor], Tensor], count: int) -> Float[Tensor, "count batch"]:
        """Whether the class asked about is the predicted one, in ``count`` altered versions of every image: 1 or 0.

        Raises:
            MetricError: it is no class that is asked about.
        """
        if self.asked.classes is None:
            raise MetricError("whether the target is predicted can be asked of a class only")
        classes, like = self.asked.classes, self.scores

        def score(outputs: Any, repeats: int = 1) -> Tensor:
            logits = logits_of(outputs)
            assert logits is not None, "there were classes"
            best = logits.argmax(dim=1) if logits.shape[1] > 1 else (logits[:, 0] <= 0).long()
            return (best == classes.repeat(repeats)).to(like.dtype)

        with borrowed(self.network):
            return replace(self.head, asked=Asked(self.asked.named, score)).scores(alter, count)

    @property
    def question(self) -> Target:
        """The settled target, to ask another picture or another network the same."""
        classes = self.asked.classes
        return self.asked.score if classes is None else classes.tolist()

    def _cells(self, side: int) -> Tensor:
        return cells_of(self, side).unique()


def _run(network: nn.Module, inputs: Tensor) -> Captured:
    """A pass without a graph, cut at the input."""
    outputs = network(inputs.clone())
    autocast = torch.get_autocast_dtype(inputs.device.type) if torch.is_autocast_enabled(inputs.device.type) else None
    return Captured(Cut.at(network, INPUT), ((inputs,), {}), (inputs,), outputs, (1,), autocast)


class _Instead(nn.Module):
    """An engine as a network that can be cut at the input."""

    def __init__(self, engine: Engine):
        super().__init__()
        self.engine = engine

    def forward(self, images: Tensor) -> Tensor:
        """The class scores, where the images are."""
        return self.engine.scores(images).to(images.device)


def _agreeing(scores: Tensor, own: Tensor, engine: Engine) -> Tensor:
    """The engine's scores of the pictures, once they are near the network's own.

    Raises:
        MetricError: they are not.
    """
    off, most = float((scores - own).abs().max()), TOLERANCE[engine.precision]
    if not off <= most * max(1.0, float(own.abs().max())):
        raise MetricError(
            f"engine {engine.said} is {off:.2g} off the network's scores of these pictures, where {most:g} is let "
            "pass: take another engine, or float32"
        )
    return scores


SCALES = ("probability", "logit", "log probability")


def _on_scale(asked: Asked, scale: str) -> Asked:
    """A class, scored on another scale; a question that chose its scale, or is not about a class, as it is."""
    if scale not in SCALES:
        raise MetricError(f"no scale is called {scale!r}; there are {', '.join(SCALES)}")
    if asked.classes is None or asked.scale != "logit" or scale == "logit":
        return asked
    classes = asked.classes

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        logits = logits_of(outputs)
        assert logits is not None, "there were classes"
        return class_scores(logits, classes.repeat(repeats), scale)

    return Asked(asked.named, score, classes, scale)
