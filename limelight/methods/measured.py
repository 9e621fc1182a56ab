"""What was measured of each method, for the registry; ``benchmarks/mosaics.py`` and ``mosaics_vit.py`` record it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

RECORD = Path(__file__).with_name("mosaics.json")
"""Where the record lies: a file of the package."""


class OnMosaics(NamedTuple):
    """How much of a method's map lies on the photograph asked about, in 2x2 mosaics of four classes; chance is 0.25.

    Attributes:
        share: the mean over the mosaics.
        error: its standard error.
        mosaics: how many there were.
        network: which network was asked.
        asked: about how many of a mosaic's four photographs it was asked; of several, the shares' mean is one value.
        precision: of the network.
    """

    share: float
    error: float
    mosaics: int
    network: str = "EfficientNet-Lite0, ImageNet classes"
    asked: int = 1
    precision: str = "float32"

    def surely_over(self, share: float) -> bool:
        """Whether chance alone, by two standard errors, would hardly bring so few mosaics so far over a share."""
        return self.share - 2 * self.error > share


@cache
def on_mosaics() -> dict[str, OnMosaics]:
    """By the method's name."""
    return {name: OnMosaics(**facts) for name, facts in json.loads(RECORD.read_text()).items()}
