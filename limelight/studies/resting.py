"""What an answer rests on: how far it falls when the object is taken away, and when everything else is.

A map says where the evidence lies that the last layer sees; this says what the answer needs. Needs masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.borrow import borrowed, unwrap
from limelight.judging.marks import blurred
from limelight.models import Model
from limelight.statistics import bootstrap
from limelight.studies.attacks import Scores, doubt
from limelight.studies.looks import BATCH, Looks, pixels_of

MOST = 64
"""Pictures that are tried, evenly from all."""


@dataclass(frozen=True)
class Resting:
    """How far the log-odds of what was predicted fall, on average.

    Attributes:
        on_object: when the object is blurred until nothing is in it.
        on_rest: when everything else is.
        outside: the second as a share of both, in [0, 1]; a mean that rises counts as 0. NaN where neither falls.
        interval: of that share; None with fewer than two pictures.
        pictures: how many this rests on.
    """

    on_object: float
    on_rest: float
    outside: float
    interval: tuple[float, float] | None
    pictures: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "on_object": self.on_object,
            "on_rest": self.on_rest,
            "outside": None if np.isnan(self.outside) else self.outside,
            "interval": list(self.interval) if self.interval else None,
            "pictures": self.pictures,
        }


def resting(model: Model, looks: Looks, most: int = MOST) -> Resting | None:
    """What the predictions of these pictures rest on, by their masks; None where there are none."""
    if looks.on_object is None or not looks.has_mask.any():
        return None
    masked = np.flatnonzero(looks.has_mask)
    chosen = masked[np.unique(np.linspace(0, len(masked) - 1, min(most, len(masked))).round().astype(int))]
    parts = [_falls(model, looks, chosen[start : start + BATCH]) for start in range(0, len(chosen), BATCH)]
    falls = torch.cat(parts).double().numpy()
    on_object, on_rest = falls.mean(axis=0).tolist()
    interval = None
    if len(falls) > 1:
        low, high = bootstrap(falls, lambda drawn: _outside(drawn.mean(axis=1)))
        interval = None if np.isnan(low) else (low, high)
    return Resting(on_object, on_rest, float(_outside(falls.mean(axis=0))), interval, len(falls))


def _falls(model: Model, looks: Looks, numbers: np.ndarray) -> Tensor:
    """(pictures, 2) The fall of the log-odds without the object, and without the rest."""
    assert looks.on_object is not None
    chosen = numbers.tolist()
    pixels, scores = pixels_of(model, looks.sample.of(chosen)), Scores(model)
    there = torch.from_numpy(looks.on_object[chosen]).to(pixels)[:, None]
    there = F.interpolate(there, pixels.shape[-2:], mode="bilinear", align_corners=False)
    soft, said = blurred(pixels), torch.from_numpy(looks.sample.predicted[chosen])
    with borrowed(unwrap(model.network)), torch.inference_mode():
        whole, without, alone = (
            doubt(scores(shown), said) for shown in (pixels, pixels.lerp(soft, there), soft.lerp(pixels, there))
        )
    return torch.stack([without - whole, alone - whole], dim=1)


def _outside(means: np.ndarray) -> np.ndarray:
    """(..., 2) mean falls without the object and without the rest -> (...) the share of the second."""
    falls = np.maximum(means, 0)
    total = falls.sum(axis=-1)
    return np.divide(falls[..., 1], total, out=np.full(total.shape, np.nan), where=total > 0)
