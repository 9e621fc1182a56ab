"""A part of the picture, asked of a detector or of a segmenter, whichever the network turns out to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from limelight.errors import TargetError
from limelight.targets.asked import Asked, Box, Labels, Question
from limelight.targets.boxes import Boxed, Candidates
from limelight.targets.regions import Region, class_maps


@dataclass(frozen=True)
class Place(Question):
    """A class in a part of the network's input: a detector's box, or a segmenter's region, as its outputs tell.

    Attributes:
        target: the class, or None for the likeliest there.
        box: (x0, y0, x1, y1) in pixels of the input.
        point: (x, y), instead.
        size: (height, width) of the input, where a segmenter's map may be smaller.
    """

    target: Any = None
    box: Box | None = None
    point: tuple[float, float] | None = None
    size: tuple[int, int] | None = None

    def check(self, batch: int, labels: Labels) -> None:
        """The class's label or index."""
        Boxed(self.target).check(batch, labels)

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """A detector is asked about the box, a segmenter about the region.

        Raises:
            TargetError: the network is neither, or a detector is asked about a point.
        """
        if isinstance(outputs, Candidates):
            if self.box is None:
                raise TargetError("a detector is asked about a box, not a point: --box X0,Y0,X1,Y1")
            return Boxed(self.target, self.box).ask(outputs, labels, scale)
        maps = class_maps(outputs)
        if maps is None:
            raise TargetError("--box and --point ask a detector or a segmenter, and this network answers for the whole")
        rows, columns = (side / full for side, full in zip(maps.shape[-2:], self.size or maps.shape[-2:], strict=True))
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            where = Region(self.target, box=(x0 * columns, y0 * rows, x1 * columns, y1 * rows))
        else:
            assert self.point is not None, "one of the two is given"
            where = Region(self.target, point=(self.point[0] * columns, self.point[1] * rows))
        return where.ask(outputs, labels, scale)
