"""Where an image's maps lie: from a layer's grid to the network's input, and from there to the photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limelight.preprocessing import View
from limelight.targets.asked import Box


@dataclass(frozen=True)
class Place:
    """Where one image's maps lie.

    Attributes:
        input_size: the network's input, in its own order: rows and columns for a picture.
        view: where the input lies on the photograph; None where tensors were given, which are their own picture.
        canvas: the box of the input that the maps cover, in its pixels; None for all of it.
    """

    input_size: tuple[int, ...]
    view: View | None = None
    canvas: Box | None = None

    @property
    def size(self) -> tuple[int, int]:
        """The picture's (width, height)."""
        if self.view is not None:
            return self.view.photo_size
        height, width = self.input_size[-2:] if len(self.input_size) > 1 else (1, *self.input_size)
        return width, height

    @property
    def seen(self) -> Box:
        """The box of the picture that the network saw."""
        if self.view is not None:
            return self.view.box
        width, height = self.size
        return 0.0, 0.0, float(width), float(height)

    @property
    def covered(self) -> Box:
        """The box of the picture that a raw map covers."""
        return self.seen if self.canvas is None else self.on_photo(self.canvas)

    def on_photo(self, box: Box) -> Box:
        """A box of the network's input on the photograph that it was made of."""
        x0, y0, x1, y1 = self.seen
        height, width = self.input_size
        across, down = (x1 - x0) / width, (y1 - y0) / height
        return x0 + box[0] * across, y0 + box[1] * down, x0 + box[2] * across, y0 + box[3] * down

    def peaks(self, maps: Tensor, whole: bool = False) -> Tensor:
        """``(targets, rows, columns)`` -> ``(targets, 2)``: x, y of each maximum on the picture; NaN for zeros.

        ``whole``: the maps cover the whole input, whatever the canvas.
        """
        height, width = self.input_size
        x0, y0, x1, y1 = (None if whole else self.canvas) or (0.0, 0.0, float(width), float(height))
        rows, columns = maps.shape[-2:]
        y = y0 + (torch.arange(rows, device=maps.device) + 0.5) / rows * (y1 - y0)
        x = x0 + (torch.arange(columns, device=maps.device) + 0.5) / columns * (x1 - x0)
        if self.view is not None:  # a letter-box's bars are not on the photograph
            width, height = self.view.photo_size
            x, y = self.view.to_photo(x, y)
            maps = maps * (_on(height, y)[:, None] & _on(width, x))
            x, y = x.clamp(0, width), y.clamp(0, height)
        best = maps.flatten(1).argmax(dim=1)
        found = torch.stack([x[best % columns], y[best // columns]], dim=1)
        return torch.where(maps.flatten(1).amax(dim=1)[:, None] > 0, found, torch.nan)


def peaks_of_any(maps: Tensor, input_size: Sequence[int]) -> Tensor:
    """``(batch, targets, *grid)`` of any dimension -> where each map is highest in the input, the last axis first."""
    flat = maps.flatten(2)
    found = torch.stack(torch.unravel_index(flat.argmax(dim=2), maps.shape[2:]), dim=-1) + 0.5
    strides = [pixels / cells for pixels, cells in zip(input_size, maps.shape[2:], strict=True)]
    places = (found * found.new_tensor(strides)).flip(-1)
    return torch.where(flat.amax(dim=2, keepdim=True) > 0, places, torch.nan)


def _on(length: int, position: Tensor) -> Tensor:
    """Which positions lie on a side of the photograph; the nearest, where it is so thin that none does."""
    off = (position - length / 2).abs()
    return off <= max(length / 2, float(off.min()))
