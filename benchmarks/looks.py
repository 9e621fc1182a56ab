"""Where a network's maps fall on scenes of which all is known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

import limelight as ll
from benchmarks.scenes import KINDS, Scenes
from limelight import heatmap
from limelight.render import overlay
from limelight.statistics import bootstrap


def share(maps: Tensor, where: Tensor) -> Tensor:
    """How much of each map's sum lies where it should ``(n,)``; NaN for a map of zeros."""
    maps, where = maps.flatten(1), where.flatten(1).to(maps.dtype)
    total = maps.sum(1)
    return torch.where(total > 0, (maps * where).sum(1) / total.clamp(min=1e-12), torch.nan)


def of_cells_read(found: ll.Explanation, paper: ll.Explanation) -> Tensor:
    """A map of those cells alone that the score hears: where HiResCAM, activation by gradient, isn't zero."""
    return heatmap.shown([paper.raw * (found.raw != 0)], found.input_size)


def near(where: Tensor, pixels: int) -> Tensor:
    """What is asked about and its outline: half a cell around it, which a map of such cells can't tell from it."""
    wide = F.max_pool2d(where[:, None].float(), 2 * pixels + 1, 1, pixels)
    return wide[:, 0] > 0


def _mean(values: Iterable[float]) -> float:
    """Of those that are numbers: a map of zeros lies nowhere."""
    known = [value for value in values if np.isfinite(value)]
    return fmean(known) if known else float("nan")


@dataclass
class Looks:
    """Where a network looked on some pictures.

    Attributes:
        cell: the side of a cell of the maps in the pictures' pixels.
        rows: what was measured on each map, with its picture's number and the kind that was asked about.
        pictures: a few, ``(title, picture with its map)``.
    """

    cell: int
    rows: list[dict[str, float]] = field(default_factory=list)
    pictures: list[tuple[str, Image.Image]] = field(default_factory=list)

    def add(
        self,
        own: Scenes,
        numbers: Tensor,
        kind: int,
        found: ll.Explanation,
        paper: ll.Explanation,
        title: str = "",
        only: Tensor | None = None,
        keep: int = 1,
    ) -> None:
        """Maps for a kind on some scenes: for all its things, or those where ``only`` is true; a few to be shown."""
        labels = own.labels()
        where = labels == 1 + kind if only is None else only & (labels > 0)
        shown = (found.maps, paper.maps, of_cells_read(found, paper))
        maps, theirs, of_read = (F.interpolate(each[:, :1], labels.shape[1:], mode="area")[:, 0] for each in shown)
        around = near(where, self.cell // 2)
        others = near((labels > 0) & ~where, self.cell // 2) & ~around
        columns = {
            "on it": share(maps, around),
            "on it, to the pixel": share(maps, where),
            "on the others": share(maps, others),
            "Grad-CAM on it": share(theirs, around),
            "Grad-CAM of the cells read": share(of_read, around),
            "cells read": (found.raw[:, 0] != 0).float().mean((1, 2)),
            "area": around.float().mean((1, 2)),
            "others' area": others.float().mean((1, 2)),
        }
        for i, number in enumerate(numbers.tolist()):
            self.rows.append({"picture": number, "kind": kind, **{of: float(v[i]) for of, v in columns.items()}})
        for i in range(min(keep, len(numbers)) if title else 0):
            picture = (own.images[i].permute(1, 2, 0) * 255).round().byte().numpy()
            self.pictures.append((title, overlay(Image.fromarray(picture), maps[i].clamp(0, 1).numpy())))

    def told(self, **facts: float) -> dict[str, float]:
        """The means over pictures, with the interval of what lies on it (pictures drawn again)."""
        by_picture: dict[float, list[dict[str, float]]] = {}
        for row in self.rows:
            if np.isfinite(row["on it"]):
                by_picture.setdefault(row["picture"], []).append(row)
        names = [of for of in self.rows[0] if of not in ("picture", "kind")]
        means = {of: [_mean(row[of] for row in rows) for rows in by_picture.values()] for of in names}
        low, high = bootstrap(means["on it"]) if len(by_picture) > 1 else (math.nan, math.nan)  # it learnt nothing
        zeros = sum(not np.isfinite(row["on it"]) for row in self.rows)
        counted = {"pictures": len(by_picture), "maps": len(self.rows) - zeros, "maps of zeros": zeros}
        return {**facts, **{of: _mean(own) for of, own in means.items()}, "low": low, "high": high, **counted}

    def by_kind(self) -> dict[str, float]:
        """For each kind how much of its maps lies on it, on the others and elsewhere, and their shares of the area."""
        found = {}
        for kind, name in enumerate(KINDS):
            own = [row for row in self.rows if row["kind"] == kind and np.isfinite(row["on it"])]
            it, its, other, others = (
                _mean(row[of] for row in own) for of in ("on it", "area", "on the others", "others' area")
            )
            found |= {f"{name}: on it": it, f"{name}: on the others": other, f"{name}: elsewhere": 1 - it - other}
            found |= {f"{name}: area": its, f"{name}: others' area": others}
        return found


def drawn(looks: Looks, count: int = 4, side: int = 160, strip: int = 18) -> Image.Image:
    """A row of pictures with their maps, what was asked above each."""
    row = Image.new("RGB", (side * count, side + strip), "white")
    for k, (title, picture) in enumerate(looks.pictures[:count]):
        row.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (k * side, strip))
        ImageDraw.Draw(row).text((k * side + 4, 3), title, fill="black")
    return row
