"""Maps from what happens to the score when parts of the picture are taken away, one part or one mask at a time.

All of them cut at the input, ask the network itself and use no gradient, so they work on any network and see nothing of
its inside. At an inner layer the same functions perturb the layer's activations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.cut import INPUT
from limelight.errors import MethodError
from limelight.head import Head
from limelight.heatmap import interpolation
from limelight.methods.registry import register
from limelight.methods.stable import fitted

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped

AT_ONCE = 256
"""Masks whose parts are held at once while they are summed."""


@register(
    "occlusion",
    title="Occlusion",
    source="Zeiler & Fergus 2014, arXiv 1311.2901, sec. 4.2",
    passes="windows",
    layer=INPUT,
    same_replays=True,
)
def occlusion(
    activations: Float[Tensor, "batch channels height width"],
    head: Head,
    scores: Float[Tensor, "batch"],
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: float = 0.0,
) -> Float[Tensor, "batch height width"]:
    """How much the score falls when a square window is painted over, averaged over the windows on a pixel.

    Signed: negative where the score rises. The windows are ``window`` cells wide, ``stride`` apart (a seventh of the
    shorter side, and half of that, unless given), and painted with ``baseline``, zero being the mean of a normalised
    picture.
    """
    height, width = activations.shape[-2:]
    window = window or max(1, min(height, width) // 7)
    stride = stride or max(1, window // 2)
    tops = torch.arange(0, max(height - window, 0) + stride, stride, device=activations.device)
    lefts = torch.arange(0, max(width - window, 0) + stride, stride, device=activations.device)
    corners = torch.cartesian_prod(tops, lefts)
    rows, columns = (torch.arange(side, device=activations.device) for side in (height, width))

    top, left = corners.T[..., None]
    inside_rows = (rows >= top) & (rows < top + window)
    inside_columns = (columns >= left) & (columns < left + window)

    def covered(few: Tensor) -> Tensor:
        return inside_rows[few][:, :, None] & inside_columns[few][:, None, :]

    fall = scores.detach() - head.scores(lambda few: _filled(activations, covered(few), baseline), len(corners))
    total, times = (_summed(each, inside_rows, inside_columns) for each in (fall, torch.ones_like(fall)))
    return total / times.clamp(min=1)


@register(
    "rise",
    title="RISE",
    source="Petsiuk et al. 2018, arXiv 1806.07421, eq. 6",
    signed=False,
    passes="samples",
    layer=INPUT,
    same_replays=True,
)
def rise(
    activations: Float[Tensor, "batch channels height width"],
    head: Head,
    *,
    samples: int = 1000,
    cells: int = 7,
    keep: float = 0.5,
    seed: int = 0,
    stable: float | None = None,
) -> Float[Tensor, "batch height width"]:
    """The mean of random smooth masks, each weighted by the score of the picture seen through it (eq. 6).

    A mask is a coarse grid of ``cells`` x ``cells``, each kept with probability ``keep``, enlarged bilinearly and
    shifted at random by up to a cell. The paper's scores are probabilities: ask for ``probability(...)`` to follow it;
    a logit works as well, and does not saturate. The mean score times the mean mask is taken off, which changes nothing
    but the common offset and much of the sampling noise (the mean of the masks is known). With ``stable`` in (0, 1), an
    image needs no more samples once its map is as stable as that, which is looked at every 100.
    """
    height, width = activations.shape[-2:]
    random = torch.Generator().manual_seed(seed)
    grids = (torch.rand(samples, cells + 1, cells + 1, generator=random) < keep).float().to(activations.device)
    step = (-(-height // cells), -(-width // cells))
    shifts = [torch.randint(side, (samples, 1), generator=random) for side in step]
    down, across = (
        (shift + torch.arange(side)).to(grids.device) for shift, side in zip(shifts, (height, width), strict=True)
    )
    rows, columns = (interpolation(cells + 1, (cells + 1) * side, grids) for side in step)

    pictures = activations.to(head.dtype)

    def masks(few: Tensor) -> Tensor:
        return (rows[down[few]] @ grids[few] @ columns[across[few]].mT).to(pictures.dtype)

    def ask(few: Tensor) -> Tensor:
        seen = head.scores(lambda some: pictures * masks(few[some.cpu()])[:, None, None], len(few))
        return seen.to(activations.dtype)

    def fit(some: Tensor, scores: Tensor) -> Tensor:
        def weighted(few: Tensor, weights: Tensor) -> Tensor:
            along = grids[few] @ columns[across[few]].mT
            each = weights.repeat_interleave(cells + 1, dim=0)
            return _summed(each, rows[down[few]].mT.flatten(0, 1), along.flatten(0, 1))

        parts = zip(some.split(AT_ONCE), (scores - scores.mean(dim=0)).split(AT_ONCE), strict=True)
        return sum((weighted(*part) for part in parts), start=activations.new_zeros(())) / (len(some) * keep)

    return fitted(ask, fit, samples, 100, stable)


@register(
    "ablation",
    title="Feature ablation",
    source="Captum's FeatureAblation; the drop of Robnik-Sikonja & Kononenko 2008, eq. 2, over segments",
    passes="segments",
    layer=INPUT,
    same_replays=True,
)
def feature_ablation(
    activations: Float[Tensor, "batch channels height width"],
    head: Head,
    scores: Float[Tensor, "batch"],
    *,
    segments: int | Tensor = 7,
    baseline: float = 0.0,
) -> Float[Tensor, "batch height width"]:
    """How much the score falls when a segment is painted over with ``baseline``. Signed.

    ``segments`` is the number of cells on a side of a grid, or a segmentation: whole numbers ``(height, width)``, or
    ``(batch, height, width)`` with one segmentation for each picture.
    """
    labels = segmentation(activations, segments)
    count = int(labels.max()) + 1
    without = head.scores(lambda few: _filled(activations, labels == few.view(-1, 1, 1, 1), baseline), count)
    return on_segments(scores.detach() - without, labels)


def segmentation(activations: Tensor, segments: int | Tensor) -> Int[Tensor, "batch height width"]:
    """A segmentation numbered from 0 for each picture, from a grid's side or a ready one.

    Raises:
        MethodError: the ready one has another shape.
    """
    batch, _, height, width = activations.shape
    if isinstance(segments, int):
        side = min(segments, height, width)
        rows, columns = (torch.arange(n, device=activations.device) * side // n for n in (height, width))
        return (rows[:, None] * side + columns).expand(batch, -1, -1)
    if segments.shape[-2:] != (height, width) or segments.ndim not in (2, 3):
        raise MethodError(f"segments of shape {tuple(segments.shape)} do not fit a grid of {height} x {width}")
    _, numbered = segments.to(activations.device).unique(return_inverse=True)
    return numbered.expand(batch, -1, -1)


def on_segments(
    values: Float[Tensor, "segments batch"], labels: Int[Tensor, "batch height width"]
) -> Float[Tensor, "batch height width"]:
    """Each segment's value on all of its cells."""
    return values.T.gather(1, labels.flatten(1)).view(labels.shape)


def _filled(activations: Tensor, covered: Tensor, baseline: float) -> Tensor:
    """``(few, batch, channels, height, width)``: the activations with what is covered painted over."""
    covered = covered[:, None] if covered.ndim == 3 else covered
    return torch.where(covered[:, :, None], baseline, activations)


def _summed(
    weights: Float[Tensor, "count batch"], rows: Shaped[Tensor, "count height"], columns: Shaped[Tensor, "count width"]
) -> Float[Tensor, "batch height width"]:
    """The sum of masks, each a row's shares times a column's, by their weights: a matrix product, no mask made."""
    return (weights.mT[:, None] * rows.mT) @ columns.to(weights.dtype)
