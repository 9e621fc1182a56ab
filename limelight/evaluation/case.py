"""A case before the metrics: pictures, the network's score of them, and a map of each. What each metric needs of it.

What belongs to the pictures alone (scores, stand-ins, random subsets and what they score) is worked out once in a
:class:`Scene` and shared by every map that is measured on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from limelight.borrow import borrowed, unwrap
from limelight.cut import INPUT, Captured, Cut, LayerSpec
from limelight.errors import InputError, MetricError, ZeroMapWarning
from limelight.evaluation.boxes import around, check_boxes, rasterised
from limelight.evaluation.perturb import Fill, fill, ranks, stand_in
from limelight.evaluation.registry import Metric, get
from limelight.explainer import explain
from limelight.head import Head, at_least_single
from limelight.heatmap import rectify, rescale, resize
from limelight.methods.registry import Method
from limelight.methods.registry import get as get_method
from limelight.models import Model
from limelight.targets import Asked, Target, ask, class_scores, logits_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

T = TypeVar("T")
Explainer = Callable[[nn.Module, Tensor, Target], Tensor]
"""``(network, images, target) -> (batch, *grid)`` raw maps; :func:`explainer` makes one of a method."""


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
    ) -> Scene:
        """Run the network once on ``inputs`` and settle what it is asked.

        Args:
            model: a network, or what :func:`limelight.load` gives.
            inputs: the pictures, preprocessed.
            target: as :func:`limelight.explain` takes it, one question an image; None for the predicted class.
            scale: on which a class is scored: "probability" (the metrics' papers), "logit" or "log probability".
            layer: perturb this layer's activations instead of the pictures: the network's head alone is run. The layer
                must give ``(batch, channels, rows, columns)``.

        Raises:
            InputError: the inputs are no batch of pictures.
            TargetError: the target does not fit the outputs.
            LayerError: there is no such layer.
            MetricError: the layer has no grid of rows and columns.
        """
        if not isinstance(inputs, Tensor) or inputs.ndim != 4 or not len(inputs):
            raise InputError("inputs must be a float tensor (batch, channels, height, width), with a picture at least")
        network, labels = (model.network, model.labels) if isinstance(model, Model) else (model, None)
        network = unwrap(network)
        with borrowed(network):
            captured = _run(network, inputs) if layer is None else Cut.at(network, layer).capture(inputs)
            asked = ask(target, captured.outputs, labels)
            if len(asked) != 1:
                raise MetricError(f"metrics ask one question an image, and {len(asked)} were given")
            one = _on_scale(asked[0], scale)
            images = at_least_single(captured.activations[0].detach())
            if images.ndim != 4:
                raise MetricError(f"layer '{captured.sites[0]}' has no grid of rows and columns to take cells from")
            scores = one.score(captured.outputs).detach()
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


def _run(network: nn.Module, inputs: Tensor) -> Captured:
    """A pass without a graph, cut at the input."""
    outputs = network(inputs.clone())
    autocast = torch.get_autocast_dtype(inputs.device.type) if torch.is_autocast_enabled(inputs.device.type) else None
    return Captured(Cut.at(network, INPUT), ((inputs,), {}), (inputs,), outputs, (1,), autocast)


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


@dataclass(frozen=True, eq=False)
class Case:
    """Maps of a scene's pictures, and what the metrics may ask about them: the attributes that metrics are named after.

    Made by :meth:`of`.
    """

    scene: Scene
    maps: Tensor = field(repr=False)
    given_masks: Tensor | None = field(default=None, repr=False)
    given_boxes: Sequence[Tensor] | None = field(default=None, repr=False)
    explainer: Explainer | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        scene: Scene,
        maps: Float[Tensor, "batch height width"],
        *,
        masks: Bool[Tensor, "batch rows columns"] | None = None,
        boxes: Sequence[Float[Tensor, "n 4"]] | None = None,
        explainer: Explainer | None = None,
    ) -> Case:
        """A case, once it is clear that everything fits together.

        Args:
            scene: pictures, network and question.
            maps: at any resolution; raw, and signed where the method is.
            masks: true where the target is, in the network's input.
            boxes: for each picture x0, y0, x1, y1 in pixels of the network's input.
            explainer: what made the maps, for metrics that ask it again.

        Raises:
            MetricError: maps, masks or boxes do not fit the pictures, or a map is not finite.
        """
        maps = at_least_single(torch.as_tensor(maps, device=scene.images.device))
        if maps.ndim != 3 or len(maps) != len(scene):
            raise MetricError(
                f"maps of shape {tuple(maps.shape)} for {len(scene)} pictures: give (batch, height, width)"
            )
        if not maps.isfinite().all():
            raise MetricError("a map holds NaN or infinity")
        size = (scene.inputs.shape[-2], scene.inputs.shape[-1])
        if masks is not None:
            masks = torch.as_tensor(masks, device=scene.images.device).bool()
            if masks.shape != (len(scene), *size):
                raise MetricError(
                    f"masks of shape {tuple(masks.shape)} do not fit {len(scene)} inputs of {size[0]} x {size[1]} "
                    "pixels: give them as the network saw the pictures"
                )
            if not (marked := masks.flatten(1).any(dim=1)).all():
                raise MetricError(f"the mask of picture {int(marked.int().argmin())} marks nothing")
        if boxes is not None:
            boxes = [check_boxes(each, size).to(scene.images.device) for each in boxes]
            if len(boxes) != len(scene):
                raise MetricError(f"boxes for {len(boxes)} pictures, where there are {len(scene)}")
        return cls(scene, maps, masks, boxes, explainer)

    def measure(self, metric: str | Metric) -> Float[Tensor, "batch"]:
        """One value for each picture.

        Raises:
            MetricError: there is no such metric, or it needs what this case was not given.
        """
        chosen = get(metric)
        needs = [getattr(self, need) if need in KNOWN else _unknown(chosen, need) for need in chosen.needs]
        with borrowed(self.scene.network):
            return chosen.function(*needs, **chosen.settings)

    def can(self, metric: str | Metric) -> bool:
        """Whether the case was given what the metric needs."""
        needs = get(metric).needs
        masks = self.given_masks is not None or self.given_boxes is not None
        return (masks or not {"masks", "boxes"} & set(needs)) and (
            self.explainer is not None or not {"explain", "explainer"} & set(needs)
        )

    def with_maps(self, maps: Tensor) -> Case:
        """The same case with other maps, of which nothing can be asked again: a chance map's."""
        return replace(self, maps=maps.to(self.maps), explainer=None)

    # ---- what metrics are named after

    @property
    def images(self) -> Float[Tensor, "batch channels rows columns"]:
        """What is perturbed."""
        return self.scene.images

    @property
    def scores(self) -> Float[Tensor, "batch"]:
        """The score of each picture as it is."""
        return self.scene.scores

    @cached_property
    def seen(self) -> Float[Tensor, "batch rows columns"]:
        """The maps as they are shown: rectified, at the pictures' size, in [0, 1]."""
        return resize(rescale(rectify(self.maps)), (self.scene.inputs.shape[-2], self.scene.inputs.shape[-1]))

    @cached_property
    def signed(self) -> Float[Tensor, "batch rows columns"]:
        """The raw maps at the pictures' size."""
        return resize(self.maps, (self.scene.inputs.shape[-2], self.scene.inputs.shape[-1]))

    @property
    def masks(self) -> Bool[Tensor, "batch rows columns"]:
        """Where the target is, from masks or, where there are none, from boxes."""
        if self.given_masks is not None:
            return self.given_masks
        if self.given_boxes is None:
            raise MetricError("this metric needs masks or boxes of the target, and none were given")
        size = (self.scene.inputs.shape[-2], self.scene.inputs.shape[-1])
        return torch.stack([rasterised(boxes, size) for boxes in self.given_boxes])

    @property
    def boxes(self) -> Sequence[Float[Tensor, "n 4"]]:
        """Where the target is, from boxes or, where there are none, the box around each mask."""
        if self.given_boxes is not None:
            return self.given_boxes
        return [around(mask[None]) for mask in self.masks]

    @cached_property
    def removal(self) -> Removal:
        """What the score becomes as pixels are taken away in the map's order."""
        return Removal(self.scene, self.maps)

    @cached_property
    def through(self) -> Callable[[str], Tensor]:
        """The score of each picture seen through its shown map, a baseline showing where the map is 0."""
        window = resize(rescale(rectify(self.maps)), self.scene.size)[:, None].to(self.images.dtype)

        def through(baseline: str) -> Tensor:
            instead = stand_in(self.images, baseline)
            return self.scene.ask(lambda few: torch.lerp(instead, self.images, window)[None], 1)[0]

        return cache(through)

    @property
    def explain(self) -> Callable[[Tensor], Tensor]:
        """The method asked again: altered inputs ``(batch, ...)`` -> raw maps of the same target."""
        ask_again, scene = self.explain_with, self.scene
        return lambda inputs: ask_again(scene.network, inputs, _same_target(scene))

    @property
    def explain_with(self) -> Explainer:
        """The method asked again, of another network or target."""
        if self.explainer is None:
            raise MetricError("this metric asks the method for more maps, so it needs an explainer, and none was given")
        return self.explainer


KNOWN = frozenset(name for name in vars(Case) if not name.startswith("_")) | {"scene", "maps"}


def _unknown(metric: Metric, need: str) -> Any:
    raise MetricError(f"metric '{metric.name}' asks for {need!r}; what there is: {', '.join(sorted(KNOWN))}")


def _same_target(scene: Scene) -> Target:
    """The settled target, so that another picture is asked about the same class."""
    asked = scene.asked
    return asked.classes.tolist() if asked.classes is not None else asked.score


@dataclass(eq=False)
class Removal:
    """The scores when a part of the pixels is taken away in a map's order, each part asked about once.

    Args:
        scene: pictures, network and question.
        maps: ``(batch, height, width)``, which say what goes first.
    """

    scene: Scene
    maps: Tensor
    _ranks: dict[int, Tensor] = field(default_factory=dict)
    _scores: dict[tuple[str, int, bool], dict[int, Tensor]] = field(default_factory=dict)

    def __call__(
        self, shares: Sequence[float], baseline: str = "blur", region: int = 1, least: bool = False
    ) -> Float[Tensor, "shares batch"]:
        """The scores with these shares of the pixels (or of the squares of ``region`` pixels) gone, 0 to 1.

        Args:
            shares: how much goes, each rounded to whole pixels.
            baseline: what takes their place, one of :data:`limelight.evaluation.perturb.BASELINES`.
            region: side of the squares that go at once.
            least: what the map marks least goes first.
        """
        ranked = self._ranked(region)
        total = int(ranked.max()) + 1
        counts = [round(share * total) for share in shares]
        known = self._scores.setdefault((baseline, region, least), {0: self.scene.scores})
        if total in counts:
            known[total] = self.scene.without(baseline)
        if missing := sorted(set(counts) - set(known)):
            fill, gone = self.scene.fill(baseline), torch.tensor(missing, device=ranked.device).view(-1, 1, 1, 1)
            last = total - gone

            def without(few: Tensor) -> Tensor:
                return fill(ranked >= last[few] if least else ranked < gone[few])

            known.update(zip(missing, self.scene.ask(without, len(missing)), strict=True))
        return torch.stack([known[count] for count in counts])

    def _ranked(self, region: int) -> Tensor:
        if region not in self._ranks:
            self._ranks[region] = ranks(self.maps, self.scene.size, region)
        return self._ranks[region]


def explainer(method: str | Method | Callable[..., Tensor], layer: LayerSpec | None = None) -> Explainer:
    """A method to be asked for more maps: ``(network, images, target) -> (batch, *grid)`` raw maps.

    Maps of several layers are fused as they are shown. A map of zeros is a result here, and no cause for a warning.
    """
    chosen = get_method(method)

    def run(network: nn.Module, images: Tensor, target: Target) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZeroMapWarning)
            explanation = explain(network, images, target, chosen, layer, batch_size=len(images), progress=False)
        maps = explanation.raw if len(explanation.raws) == 1 else explanation.maps
        return maps[:, 0]

    return run
