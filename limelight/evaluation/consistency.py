"""The map must move as the picture does: flips, shifts, crops; and stay where it only gets worse: noise, JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.evaluation.registry import register
from limelight.evaluation.similarity import pearson
from limelight.heatmap import resize

if TYPE_CHECKING:
    from jaxtyping import Float

Geometry = Callable[[Tensor], Tensor]
"""``(batch, channels, rows, columns)`` pictures -> the same, changed."""


@dataclass(frozen=True)
class Change:
    """What is done to a picture, and what a map should do then.

    Attributes:
        alter: pictures -> changed pictures.
        follow: maps ``(batch, 1, rows, columns)`` -> where they should have gone.
        inside: a part of the result on which both are known.
        words: what is done, for a table.
    """

    alter: Geometry
    follow: Geometry
    inside: Geometry
    words: str


def _same(values: Tensor) -> Tensor:
    return values


def _flip(values: Tensor) -> Tensor:
    return values.flip(-1)


def _pixels(values: Tensor) -> int:
    """A sixteenth of the shorter side, one pixel at least."""
    return max(1, min(values.shape[-2:]) // 16)


def _shift(values: Tensor) -> Tensor:
    """Down and to the right, the border's pixels continued."""
    by = _pixels(values)
    return F.pad(values, (by, 0, by, 0), mode="replicate")[..., : values.shape[-2], : values.shape[-1]]


def _crop(values: Tensor) -> Tensor:
    """The middle without a sixteenth at each side, enlarged to the old size."""
    by = _pixels(values)
    return resize(values[..., by:-by, by:-by], (values.shape[-2], values.shape[-1]))


def _noisy(images: Tensor) -> Tensor:
    drawn = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0)).to(images)
    return images + 0.1 * images.std(dim=(1, 2, 3), keepdim=True) * drawn


def _jpeg(images: Tensor, quality: int = 50) -> Tensor:
    """Saved as JPEG and read again, each picture stretched to its own range."""
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor, to_pil_image

    found = []
    for image in images.detach().float().cpu():
        low, high = image.amin(), image.amax()
        span = (high - low).clamp(min=1e-12)
        pixels = ((image - low) / span * 255).round().byte()
        buffer = io.BytesIO()
        to_pil_image(pixels if len(pixels) in (1, 3) else pixels[:1]).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as picture:
            again = pil_to_tensor(picture).float()
        found.append(again.expand(len(image), -1, -1) / 255 * span + low)
    return torch.stack(found).to(images)


CHANGES = {
    "flip": Change(_flip, _flip, _same, "flipped left to right"),
    "shift": Change(_shift, _shift, lambda v: v[..., _pixels(v) :, _pixels(v) :], "shifted by a sixteenth of its side"),
    "crop": Change(_crop, _crop, _same, "cropped by a sixteenth at each side and enlarged"),
    "noise": Change(_noisy, _same, _same, "under noise of a tenth of its deviation"),
    "jpeg": Change(_jpeg, _same, _same, "saved as JPEG of quality 50"),
}
"""What a picture may go through, by the metric's name after ``consistency_``."""


def consistency(
    signed: Float[Tensor, "batch rows columns"],
    inputs: Float[Tensor, "batch channels rows columns"],
    explain: Callable[[Tensor], Tensor],
    change: Change,
) -> Float[Tensor, "batch"]:
    """Pearson's correlation of the changed picture's map with the picture's own map, changed the same way."""
    again = resize(explain(change.alter(inputs)), (inputs.shape[-2], inputs.shape[-1]))
    expected, found = (
        change.inside(each[:, None]).flatten(1) for each in (change.follow(signed[:, None])[:, 0], again)
    )
    return pearson(expected, found)


def _enter(name: str, change: Change) -> None:
    def metric(
        signed: Float[Tensor, "batch rows columns"],
        inputs: Float[Tensor, "batch channels rows columns"],
        explain: Callable[[Tensor], Tensor],
    ) -> Float[Tensor, "batch"]:
        return consistency(signed, inputs, explain, change)

    metric.__doc__ = f"The correlation of the map, moved along, with the map of the picture {change.words}."
    register(
        f"consistency_{name}",
        title=f"Consistency ({name})",
        source="equivariance and invariance of explanations: Crabbé & van der Schaar 2023, arXiv 2304.06715",
        question="stable",
        better="higher",
        range=(-1.0, 1.0),
        passes="a map",
    )(metric)


for _name, _change in CHANGES.items():
    _enter(_name, _change)
