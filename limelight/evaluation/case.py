"""Maps of a scene's pictures, and what the metrics may ask of them: the attributes that metrics are named after."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from limelight.borrow import borrowed
from limelight.cut import LayerSpec
from limelight.errors import MetricError, ZeroMapWarning
from limelight.evaluation.baselines import chance_maps
from limelight.evaluation.boxes import around as box_around
from limelight.evaluation.boxes import check_boxes, rasterised
from limelight.evaluation.nearby import Nearby, shifting
from limelight.evaluation.perturb import stand_in
from limelight.evaluation.registry import Metric, get
from limelight.evaluation.removal import Removal
from limelight.evaluation.scene import Scene
from limelight.evaluation.subsets import Dropped, cells_of, portions
from limelight.explainer import explain
from limelight.head import at_least_single
from limelight.heatmap import rectify, rescale, resize
from limelight.methods.registry import Method
from limelight.methods.registry import get as get_method
from limelight.targets import Target

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Explainer = Callable[[nn.Module, Tensor, Target], Tensor]
"""``(network, images, target) -> (batch, *grid)`` raw maps; :func:`explainer` makes one of a method."""


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
    given_controls: Tensor | None = field(default=None, repr=False)
    given_mislabelled: nn.Module | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        scene: Scene,
        maps: Float[Tensor, "batch height width"],
        *,
        masks: Bool[Tensor, "batch rows columns"] | None = None,
        boxes: Sequence[Float[Tensor, "n 4"]] | None = None,
        explainer: Explainer | None = None,
        controls: Float[Tensor, "batch height width"] | None = None,
        mislabelled: nn.Module | None = None,
    ) -> Case:
        """A case, once it is clear that everything fits together.

        Args:
            scene: pictures, network and question.
            maps: at any resolution; raw, and signed where the method is.
            masks: true where the target is, in the network's input.
            boxes: for each picture x0, y0, x1, y1 in pixels of the network's input.
            explainer: what made the maps, for metrics that ask it again.
            controls: for each picture the map of another that is predicted the same (see ``sanity.matched``).
            mislabelled: the network's architecture, trained with permuted labels.

        Raises:
            MetricError: maps, masks or boxes do not fit the pictures, or a map is not finite.
        """
        maps = _fitting(maps, scene, "maps")
        controls = None if controls is None else _fitting(controls, scene, "controls")
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
        return cls(scene, maps, masks, boxes, explainer, controls, mislabelled)

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
        try:
            for need in get(metric).needs:
                getattr(self, need, None)
        except MetricError:
            return False
        return True

    def with_maps(self, maps: Tensor) -> Case:
        """The same case with other maps, of which nothing can be asked again: a chance map's."""
        return replace(self, maps=maps.to(self.maps), explainer=None, given_controls=None)

    def chance(self, kind: str, first: int = 0) -> Case:
        """The same case with maps that know nothing of the network, on the same grid.

        Args:
            kind: one of :data:`limelight.evaluation.baselines.CHANCE`.
            first: the number of the first picture among all of them, of which its random map depends.
        """
        return self.with_maps(chance_maps(kind, self.inputs, (self.maps.shape[1], self.maps.shape[2]), first=first))

    # ---- what metrics are named after

    @property
    def images(self) -> Float[Tensor, "batch channels rows columns"]:
        """What is perturbed."""
        return self.scene.images

    @property
    def inputs(self) -> Float[Tensor, "batch channels height width"]:
        """What the network was given."""
        return self.scene.inputs

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
        return [box_around(mask[None]) for mask in self.masks]

    @cached_property
    def removal(self) -> Removal:
        """What the score becomes as pixels are taken away in the map's order."""
        return Removal(self.scene, self.maps)

    @property
    def subsets(self) -> Callable[..., Dropped]:
        """Random subsets of the cells, and what the score loses without them (see :meth:`Scene.subsets`)."""
        return self.scene.subsets

    @property
    def singles(self) -> Callable[[int, str], Dropped]:
        """Each cell alone, and what the score loses without it (see :meth:`Scene.singles`)."""
        return self.scene.singles

    @property
    def occlusion(self) -> Callable[[int], Tensor]:
        """The occlusion map (see :meth:`Scene.occlusion`)."""
        return self.scene.occlusion

    @property
    def portions(self) -> Callable[[int], Tensor]:
        """The map's sum over each cell of a grid: ``side -> (batch, cells)``."""
        return lambda side: portions(self.maps, cells_of(self.scene, side))

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
        return lambda inputs: ask_again(scene.network, inputs, scene.question)

    @property
    def explain_with(self) -> Explainer:
        """The method asked again, of another network or target."""
        if self.explainer is None:
            raise MetricError("this metric asks the method for more maps, so it needs an explainer, and none was given")
        explain, grid = self.explainer, tuple(self.maps.shape[1:])

        def again(network: nn.Module, images: Tensor, target: Target) -> Tensor:
            maps = explain(network, images, target)
            if tuple(maps.shape[1:]) != grid:
                raise MetricError(
                    f"the explainer gives maps of shape {tuple(maps.shape[1:])}, and the case's are {grid}: measure "
                    "the explainer's own, raw maps, explainer(network, inputs, target)"
                )
            return maps

        return again

    @cached_property
    def around(self) -> Callable[..., Nearby]:
        """The pictures under a little noise with their maps: ``(samples, radius, seed)`` (see :class:`Nearby`)."""
        scene, explain = self.scene, self.explain
        return cache(
            lambda samples, radius, seed: Nearby.of(scene.network, scene.inputs, explain, samples, radius, seed)
        )

    @property
    def shifted(self) -> Callable[[float], Tensor]:
        """The maps of pictures shifted by a number, of a network that shifts them back."""
        ask_again, scene = self.explain_with, self.scene
        return lambda shift: ask_again(shifting(scene.network, shift), scene.inputs + shift, scene.question)

    @property
    def controls(self) -> Float[Tensor, "batch height width"]:
        """The map of another picture that is predicted the same."""
        if self.given_controls is None:
            raise MetricError("this metric compares with maps of like predicted pictures, and no controls were given")
        return self.given_controls

    @property
    def mislabelled(self) -> nn.Module:
        """A network trained with permuted labels."""
        if self.given_mislabelled is None:
            raise MetricError("this metric needs a network trained with permuted labels, and none was given")
        return self.given_mislabelled


KNOWN = frozenset(name for name in vars(Case) if not name.startswith("_")) | {"scene", "maps"}


def _unknown(metric: Metric, need: str) -> Any:
    raise MetricError(f"metric '{metric.name}' asks for {need!r}; what there is: {', '.join(sorted(KNOWN))}")


def _fitting(maps: Tensor, scene: Scene, what: str) -> Tensor:
    maps = at_least_single(torch.as_tensor(maps, device=scene.images.device))
    if maps.ndim != 3 or len(maps) != len(scene):
        raise MetricError(f"{what} of shape {tuple(maps.shape)} for {len(scene)} pictures: give (batch, height, width)")
    if not maps.isfinite().all():
        raise MetricError(f"{what} hold NaN or infinity")
    return maps


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
