"""A few pictures at a time: every method's map of each, every metric of each map, and chance beside them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.cut import LayerSpec
from limelight.engines import Engine
from limelight.errors import InputError, LimelightError, ZeroMapWarning, one_line
from limelight.evaluation import CHANCE, Case, Metric, Scene, chance_maps, explainer
from limelight.evaluation.similarity import spearman
from limelight.explainer import explain
from limelight.explanation import Explanation
from limelight.heatmap import rectify, resize
from limelight.images import Photo, read
from limelight.methods.registry import Method
from limelight.models import Model
from limelight.preprocessing import Fit, View
from limelight.ranking.pictures import Picture

AGREEMENT = "agreement"
"""Not a metric but a figure: the mean rank correlation of a map with the other methods' maps of the picture."""
COMMON = 14
"""Cells along a side of the grid that maps are compared on."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """A method at a layer; None for its own."""

    method: Method
    layer: str | None = None

    @property
    def label(self) -> str:
        """The method's label, with the layer where one was chosen."""
        return f"{self.method.label} at {self.layer}" if self.layer else self.method.label


@dataclass(frozen=True)
class Bench:
    """What stays the same for all pictures.

    Attributes:
        model: the network.
        contenders: what is measured.
        metrics: how.
        fit: how a photograph becomes the network's input.
        engine: what runs altered pictures in the network's place.
    """

    model: Model
    contenders: Sequence[Contender]
    metrics: Sequence[Metric]
    fit: Fit
    engine: Engine | None = None

    def measure(self, pictures: Sequence[Picture], first: int) -> list[Row]:
        """A row for each picture, method and metric, and one for each picture and method that there is none of.

        Args:
            pictures: a shard.
            first: the number of its first picture among all of them.
        """
        rows: list[Row] = []
        photos: list[tuple[int, Picture, Photo]] = []
        for number, picture in enumerate(pictures, first):
            try:
                photos.append((number, picture, read(picture.path)))
            except InputError as error:
                rows.append(_row(number, picture, error=str(error)))
        if photos:
            rows += self._measured(photos)
        return rows

    def _measured(self, photos: Sequence[tuple[int, Picture, Photo]]) -> Iterator[Row]:
        numbers, pictures, read_ones = zip(*photos, strict=True)
        images, views = prepared(self.model, read_ones, self.fit)
        targets = [picture.target for picture in pictures]
        scene = Scene.of(self.model, images, None if None in targets else targets, engine=self.engine)
        settled = scene.asked.classes
        targets = targets if settled is None else settled.tolist()
        pictures = [Picture(p.path, t, p.regions) for p, t in zip(pictures, targets, strict=True)]
        masks = [mask_of(p, v, photo) for p, v, photo in zip(pictures, views, read_ones, strict=True)]
        where = [i for i, mask in enumerate(masks) if mask is not None]
        placed = Scene.of(self.model, images[where], [targets[i] for i in where]) if where and self._places else None
        inside = torch.stack([mask for mask in masks if mask is not None]) if where else None
        facts = [_row(number, picture) for number, picture in zip(numbers, pictures, strict=True)]
        grid, every = None, {}
        for contender in self.contenders:
            try:
                maps, seconds = self._maps(contender, images, targets)
            except (LimelightError, RuntimeError) as error:
                said = one_line(error)
                yield from ({**fact, "method": contender.label, "error": said} for fact in facts)
                continue
            grid = grid or (maps.shape[-2], maps.shape[-1])
            every[contender.label] = maps
            ask_again = explainer(contender.method, contender.layer)
            own = {"method": contender.label, "chance": False, "seconds": seconds / len(facts)}
            for row in self._values(scene, placed, where, maps, inside, ask_again):
                yield {**facts[row.pop("place")], **own, **row}
        for kind in CHANCE if grid else ():
            maps = chance_maps(kind, images, grid or (1, 1), first=numbers[0])
            for row in self._values(scene, placed, where, maps, inside, None):
                yield {**facts[row.pop("place")], "method": kind, "chance": True, **row}
        for label, values in agreements(every).items():
            for fact, value in zip(facts, values, strict=True):
                yield {**fact, "method": label, "chance": False, "metric": AGREEMENT, "value": value}

    @property
    def _places(self) -> bool:
        return any(metric.question == "located" for metric in self.metrics)

    def _maps(self, contender: Contender, images: Tensor, targets: Sequence[int]) -> tuple[Tensor, float]:
        started = time.perf_counter()
        found = maps_of(self.model, contender, images, targets)
        maps = found.raw[:, 0] if len(found.raws) == 1 else found.maps[:, 0]
        maps.sum().item()  # a device has finished when it hands over a number
        return maps, time.perf_counter() - started

    def _values(
        self, scene: Scene, placed: Scene | None, where: Sequence[int], maps: Tensor, masks: Tensor | None, again: Any
    ) -> Iterator[Row]:
        whole = Case.of(scene, maps, explainer=again)
        part = Case.of(placed, maps[list(where)], masks=masks) if placed is not None else None
        for metric in self.metrics:
            case, places = (part, where) if metric.question == "located" else (whole, range(len(maps)))
            if case is None or not case.can(metric):
                continue
            for place, value in zip(places, case.measure(metric).tolist(), strict=True):
                yield {"place": place, "metric": metric.label, "value": None if math.isnan(value) else value}


def maps_of(model: Model, contender: Contender, images: Tensor, targets: Sequence[int] | None) -> Explanation:
    """One contender's maps; a map of zeros is a result like any other here."""
    layer: LayerSpec | None = contender.layer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZeroMapWarning)
        return explain(model, images, targets, contender.method, layer, batch_size=len(images), progress=False)


def prepared(model: Model, photos: Sequence[Photo], fit: Fit) -> tuple[Tensor, list[View]]:
    """The network's input, and where each picture lies on it.

    Raises:
        InputError: the network comes without preprocessing.
    """
    if model.preprocessing is None:
        raise InputError("this network comes without preprocessing, so it can't be shown photographs")
    tensors, views = zip(*(model.preprocessing(photo.pixels, fit) for photo in photos), strict=True)
    like = next((tensor for tensor in model.network.parameters() if tensor.is_floating_point()), tensors[0])
    return torch.stack(tensors).to(like.device, like.dtype), list(views)


def mask_of(picture: Picture, view: View, photo: Photo) -> Tensor | None:
    """Where the target is ``(height, width)`` in the network's input; None where nothing of it can be seen."""
    if not picture.regions:
        return None
    on_photo = torch.stack([r.pixels(photo.size, str(picture.path)) for r in picture.regions]).any(dim=0)
    height, width = view.input_size
    x, y = view.to_photo(torch.arange(width) + 0.5, torch.arange(height) + 0.5)
    columns, rows = x.floor().long(), y.floor().long()
    inside = ((rows >= 0) & (rows < on_photo.shape[0]))[:, None] & ((columns >= 0) & (columns < on_photo.shape[1]))
    mask = on_photo[rows.clamp(0, on_photo.shape[0] - 1)][:, columns.clamp(0, on_photo.shape[1] - 1)] & inside
    return mask if mask.any() else None


def agreements(maps: dict[str, Tensor]) -> dict[str, list[float]]:
    """For each method and picture the mean rank correlation with the other methods' maps; none of a single method."""
    if len(maps) < 2:
        return {}
    ranked = {label: resize(rectify(each.float()), (COMMON, COMMON)).flatten(1) for label, each in maps.items()}
    return {
        label: torch.stack([spearman(own, other) for name, other in ranked.items() if name != label]).mean(0).tolist()
        for label, own in ranked.items()
    }


def _row(number: int, picture: Picture, error: str | None = None) -> Row:
    return {"picture": number, "path": str(picture.path), "target": picture.target, "error": error}
