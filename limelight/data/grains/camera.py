"""Where the camera stands: the one projective map between the picture and the table.

Both planes are measured in picture widths from the picture's centre, x to the right and y downwards. A camera that
looks straight down is the identity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_FOCAL = 1.7  # in picture widths: about a 60 mm lens on small film


@dataclass(frozen=True)
class Camera:
    """``tilt`` in radians from straight down, towards ``heading`` (radians; -pi/2 looks to the picture's top)."""

    tilt: float
    heading: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Camera:
        """A hand-held camera: straight down to 40 degrees, mostly with the far side at the top."""
        return cls(tilt=math.radians(40) * rng.random() ** 1.2, heading=-math.pi / 2 + rng.normal(0, 0.35))

    @property
    def _slope(self) -> tuple[float, float]:
        steep = math.tan(self.tilt) / _FOCAL
        return steep * math.cos(self.heading), steep * math.sin(self.heading)

    def to_table(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Picture coordinates -> table coordinates."""
        kx, ky = self._slope
        near = 1 - kx * x - ky * y
        return self._stretch(x / near, y / near, 1 / math.cos(self.tilt))

    def to_picture(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Table coordinates -> picture coordinates."""
        kx, ky = self._slope
        x, y = self._stretch(x, y, math.cos(self.tilt))
        far = 1 + kx * x + ky * y
        return x / far, y / far

    def _stretch(self, x: np.ndarray, y: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
        """Lengthen along the heading: a tilted camera sees that direction foreshortened."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        along = (x * cos + y * sin) * (factor - 1)
        return x + along * cos, y + along * sin


def pixel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture coordinates of the pixels' centres: two (size, size) float32 arrays, x and y in (-0.5, 0.5)."""
    axis = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y
