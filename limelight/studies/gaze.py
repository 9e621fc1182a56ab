"""What a network looks at: where its maps fall, class by class, beside how much of a picture each place covers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from limelight import heatmap
from limelight.statistics import bootstrap
from limelight.studies.looks import CELLS, Looks, share


@dataclass(frozen=True)
class Share:
    """How much of the maps falls somewhere.

    Attributes:
        place: where.
        mean: the mean share over the pictures, in [0, 1].
        interval: of that mean; None with fewer than two pictures.
        area: the share of the picture that the place covers.
        pictures: how many this rests on.
        ceiling: what a map of the same grid would have that follows the place perfectly; None where that is all of it.
    """

    place: str
    mean: float
    interval: tuple[float, float] | None
    area: float
    pictures: int
    ceiling: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "place": self.place,
            "share": self.mean,
            "interval": list(self.interval) if self.interval else None,
            "area": self.area,
            "ceiling": self.ceiling,
            "pictures": self.pictures,
        }

    @property
    def times(self) -> float:
        """The share against that of a map which is the same everywhere."""
        return self.mean / self.area if self.area else float("nan")


@dataclass(frozen=True, eq=False)
class Gaze:
    """Where the maps of what was predicted fall, for one class of pictures or for all.

    Attributes:
        name: the class's, or "all".
        pictures: how many have a map at all.
        empty: how many have none: nothing spoke for what was predicted.
        shares: by place; the object is among them where masks were given.
        mean_map: ``(CELLS, CELLS)``, the mean of the maps, each summing to 1.
    """

    name: str
    pictures: int
    empty: int
    shares: tuple[Share, ...]
    mean_map: np.ndarray

    def share(self, place: str) -> Share | None:
        """The share of one place."""
        return next((each for each in self.shares if each.place == place), None)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, without the map."""
        shares = [each.as_dict() for each in self.shares]
        return {"class": self.name, "pictures": self.pictures, "without_evidence": self.empty, "shares": shares}


OBJECT, MIDDLE, BORDER, CORNERS = "the object", "the middle", "the border", "the corners"


def regions() -> dict[str, np.ndarray]:
    """Places that every picture has, as ``(CELLS, CELLS)`` booleans; they overlap.

    The middle is half of either side, the border an eighth of the side all around, the corners a quarter of the side.
    """
    at = (np.arange(CELLS) + 0.5) / CELLS
    off = np.abs(at - 0.5)
    near, far, cornering = off < 0.25, off > 0.375, off > 0.25
    return {
        MIDDLE: near[:, None] & near,
        BORDER: far[:, None] | far,
        CORNERS: cornering[:, None] & cornering,
    }


def gaze(looks: Looks, only: int | None = None) -> Gaze:
    """Where the maps fall: of the pictures of one true class, or of all."""
    chosen = np.arange(len(looks.sample)) if only is None else np.flatnonzero(looks.sample.labels == only)
    maps = looks.maps()[torch.from_numpy(chosen)]
    total = maps.double().sum(dim=(1, 2)).numpy()
    there = total > 0
    shares = [_share(place, share(maps, region)[there], float(region.mean())) for place, region in regions().items()]
    masked = looks.has_mask[chosen]
    if looks.on_object is not None and (masked & there).any():
        filled = looks.on_object[chosen]
        both = masked & there
        found = _share(OBJECT, share(maps[torch.from_numpy(both)], filled[both]), float(filled[both].mean()))
        shares.insert(0, replace(found, ceiling=_ceiling(looks, filled[both])))
    heat = maps.double().numpy()[there]
    mean = (heat / total[there][:, None, None]).mean(axis=0) if len(heat) else np.zeros((CELLS, CELLS))
    name = "all" if only is None else looks.sample.classes[only]
    return Gaze(name, int(there.sum()), int((~there).sum()), tuple(each for each in shares if each.pictures), mean)


def best(looks: Looks, of_class: int, most: int) -> list[int]:
    """The numbers of the right pictures of a class that the network was surest of, surest first."""
    sample = looks.sample
    right = np.flatnonzero(sample.right & (sample.labels == of_class))
    return right[np.argsort(-sample.confidence[right], kind="stable")][:most].tolist()


def _ceiling(looks: Looks, filled: np.ndarray) -> float:
    """The share on the object of maps that have in each cell of the layer's grid as much as the object fills of it."""
    exact = torch.from_numpy(filled)
    rows, columns = looks.explanation.raws[-1].shape[-2:]
    perfect = heatmap.shown([adaptive_avg_pool2d(exact[:, None], (rows, columns))[:, 0]], (CELLS, CELLS))
    return float(np.nanmean(share(perfect, filled)))


def _share(place: str, values: np.ndarray, area: float) -> Share:
    interval = bootstrap(values) if len(values) > 1 else None
    return Share(place, float(values.mean()) if len(values) else float("nan"), interval, area, len(values))
