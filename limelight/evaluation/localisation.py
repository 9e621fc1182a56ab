"""Where a map falls, when it is known where the target is.

None of these asks the network. A map that falls on the object is no proof that the network looks there, and the
other way round: a network that uses the background is shown right by a map that falls beside the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.evaluation.boxes import all_boxes, boxes_from_maps, iou
from limelight.evaluation.registry import register

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

THRESHOLDS = tuple(i / 20 for i in range(20))
"""Shares of a map's maximum, for sweeps."""


@register(
    "pointing",
    title="Pointing game",
    source="Zhang et al. 2016, arXiv 1608.00507",
    question="located",
    better="higher",
    range=(0.0, 1.0),
)
def pointing(
    maps: Float[Tensor, "batch height width"], masks: Bool[Tensor, "batch rows columns"], *, tolerance: float = 15.0
) -> Float[Tensor, "batch"]:
    """Whether the map's highest point lies on the target, or within ``tolerance`` pixels of it: 1 or 0.

    The highest point is the centre of the highest cell. Where several are as high, the share of them that hit: what
    breaking the tie at random would give, so that a constant map points as well as chance and no better. ``tolerance``
    is in pixels of the network's input; the paper's 15 is for pictures of their own size, some 500 pixels wide.
    """
    near = grown(masks, tolerance)
    rows, columns = (
        ((torch.arange(cells, device=maps.device) + 0.5) * pixels / cells).long()
        for cells, pixels in zip(maps.shape[1:], masks.shape[1:], strict=True)
    )
    hits = near[:, rows][:, :, columns]
    highest = maps == maps.amax(dim=(1, 2), keepdim=True)
    return (hits & highest).sum(dim=(1, 2)) / highest.sum(dim=(1, 2))


def grown(masks: Bool[Tensor, "batch rows columns"], by: float) -> Bool[Tensor, "batch rows columns"]:
    """The masks with every pixel that is at most ``by`` pixels away."""
    reach = int(by)
    if reach < 1:
        return masks
    steps = torch.arange(-reach, reach + 1, device=masks.device)
    disc = (steps[:, None] ** 2 + steps**2 <= by**2).float()[None, None]
    return F.conv2d(masks[:, None].float(), disc, padding=reach)[:, 0] > 0.5


def difficult(masks: Bool[Tensor, "batch rows columns"], distractors: Bool[Tensor, "batch"]) -> Bool[Tensor, "batch"]:
    """The pointing game's difficult part: the target covers less than a quarter, and something else is there too.

    Zhang et al. 2016. ``distractors`` says which pictures show another class as well.
    """
    return (masks.flatten(1).float().mean(dim=1) < 0.25) & distractors


def off_centre(masks: Bool[Tensor, "batch rows columns"]) -> Bool[Tensor, "batch"]:
    """The pictures whose centre does not lie on the target: there a centre guess gains nothing."""
    return ~masks[:, masks.shape[1] // 2, masks.shape[2] // 2]


@register(
    "energy_pointing",
    title="Energy-based pointing game",
    source="Wang et al. 2020 (Score-CAM), arXiv 1910.01279",
    question="located",
    better="higher",
    range=(0.0, 1.0),
)
def energy_pointing(
    seen: Float[Tensor, "batch rows columns"], masks: Bool[Tensor, "batch rows columns"]
) -> Float[Tensor, "batch"]:
    """The share of the shown map that falls on the target. By chance: the target's share of the picture."""
    return _share(seen, masks)


@register(
    "relevance_mass",
    title="Relevance mass accuracy",
    source="Arras et al. 2022, arXiv 2003.07258",
    question="located",
    better="higher",
    range=(0.0, 1.0),
)
def relevance_mass(
    signed: Float[Tensor, "batch rows columns"], masks: Bool[Tensor, "batch rows columns"]
) -> Float[Tensor, "batch"]:
    """The share of the map's relevance, for or against the class, that falls on the target.

    As the energy-based pointing game, with what speaks against the class counted as relevant too (the paper pools its
    heat-maps to positive values by a norm over colours; a map without colours is pooled by its magnitude).
    """
    return _share(signed.abs(), masks)


@register(
    "relevance_rank",
    title="Relevance rank accuracy",
    source="Arras et al. 2022, arXiv 2003.07258",
    question="located",
    better="higher",
    range=(0.0, 1.0),
)
def relevance_rank(
    signed: Float[Tensor, "batch rows columns"], masks: Bool[Tensor, "batch rows columns"]
) -> Float[Tensor, "batch"]:
    """Of as many of the highest pixels as the target has, the share that lies on it. By chance: its share of all."""
    sizes = masks.flatten(1).sum(dim=1)
    return _hits(signed, masks, sizes) / sizes


@register(
    "top_k",
    title="Top-k intersection",
    source="Theiner et al. 2021, arXiv 2104.14995",
    question="located",
    better="higher",
    range=(0.0, 1.0),
)
def top_k(
    signed: Float[Tensor, "batch rows columns"], masks: Bool[Tensor, "batch rows columns"], *, k: int = 1000
) -> Float[Tensor, "batch"]:
    """The share of the ``k`` highest pixels that lies on the target."""
    k = min(k, signed[0].numel())
    return _hits(signed, masks, torch.full((len(masks),), k, device=masks.device)) / k


@register(
    "attribution_localisation",
    title="Attribution localisation",
    source="Kohlbrenner et al. 2020, arXiv 1910.09840, mu and mu_w",
    question="located",
    better="higher",
)
def attribution_localisation(
    signed: Float[Tensor, "batch rows columns"], masks: Bool[Tensor, "batch rows columns"], *, weighted: bool = False
) -> Float[Tensor, "batch"]:
    """The share of what speaks for the class that falls on the target (mu).

    With ``weighted``, divided by the target's share of the picture: 1 is chance.
    """
    share = _share(signed.clamp(min=0), masks)
    return share / masks.flatten(1).float().mean(dim=1) if weighted else share


@register(
    "focus",
    title="Focus",
    source="Arias-Duart et al. 2022, arXiv 2109.15035",
    question="located",
    better="higher",
    range=(0.0, 1.0),
)
def focus(
    signed: Float[Tensor, "batch rows columns"], masks: Bool[Tensor, "batch rows columns"]
) -> Float[Tensor, "batch"]:
    """On mosaics: the share of what speaks for the class that falls on the class's own pictures.

    ``masks`` mark the tiles that show the target. By chance: their share of the mosaic, 0.5 in the paper's.
    """
    return _share(signed.clamp(min=0), masks)


@register(
    "box_iou",
    title="Box IoU",
    source="Zhou et al. 2016, arXiv 1512.04150, sec. 3.2; threshold of Selvaraju et al. 2017, sec. 4.1",
    question="located",
    better="higher",
    range=(0.0, 1.0),
)
def box_iou(
    seen: Float[Tensor, "batch rows columns"], boxes: Sequence[Float[Tensor, "n 4"]], *, threshold: float = 0.15
) -> Float[Tensor, "batch"]:
    """How well the box around the map's largest part above 15 % of its maximum fits the best of the target's boxes."""
    return _best(boxes_from_maps(seen, threshold), boxes)


@register(
    "localisation_error",
    title="Localisation error",
    source="Russakovsky et al. 2015, arXiv 1409.0575, sec. 4.1 (IoU 0.5); threshold of Selvaraju et al. 2017, sec. 4.1",
    question="located",
    better="lower",
    range=(0.0, 1.0),
)
def localisation_error(
    seen: Float[Tensor, "batch rows columns"],
    boxes: Sequence[Float[Tensor, "n 4"]],
    *,
    threshold: float = 0.15,
    overlap: float = 0.5,
) -> Float[Tensor, "batch"]:
    """1 where the map's box overlaps no box of the target by at least ``overlap``, else 0."""
    return (box_iou(seen, boxes, threshold=threshold) < overlap).to(seen.dtype)


def iou_sweep(
    seen: Float[Tensor, "batch rows columns"],
    boxes: Sequence[Float[Tensor, "n 4"]],
    thresholds: Sequence[float] = THRESHOLDS,
    every_part: bool = False,
) -> Float[Tensor, "thresholds batch"]:
    """Box IoU at each threshold: of the largest part's box, or the best over every part's (MaxBoxAccV2's choice)."""
    if not every_part:
        return torch.stack([box_iou(seen, boxes, threshold=threshold) for threshold in thresholds])
    return torch.stack(
        [
            torch.stack([_best_of(all_boxes(one, t), own) for one, own in zip(seen, boxes, strict=True)])
            for t in thresholds
        ]
    )


def max_box_acc_v2(
    sweep: Float[Tensor, "thresholds pictures"], overlaps: Sequence[float] = (0.3, 0.5, 0.7)
) -> Float[Tensor, "pictures"]:
    """MaxBoxAccV2 (Choe et al. 2022, arXiv 2007.04178): each picture's part in it, in [0, 1].

    For each overlap the threshold is the best one for all pictures together: give the sweep (:func:`iou_sweep` with
    ``every_part``) of the whole data set. The mean is the published figure.
    """
    hits = torch.stack([sweep >= overlap for overlap in overlaps]).float()
    best = hits.mean(dim=2).argmax(dim=1)
    return hits[torch.arange(len(best)), best].mean(dim=0)


@register(
    "pixel_ap",
    title="Pixel average precision",
    source="Choe et al. 2020, arXiv 2001.07437, PxAP, of one picture",
    question="located",
    better="higher",
    range=(0.0, 1.0),
)
def pixel_average_precision(
    signed: Float[Tensor, "batch rows columns"], masks: Bool[Tensor, "batch rows columns"]
) -> Float[Tensor, "batch"]:
    """The area under precision over recall when the map is taken for a pixel's score of being on the target.

    By chance: the target's share of the picture. The paper pools the pixels of all pictures before it counts; here
    every picture counts the same.
    """
    return torch.stack([_average_precision(s, m) for s, m in zip(signed.flatten(1), masks.flatten(1), strict=True)])


def pooled_average_precision(
    signed: Float[Tensor, "batch rows columns"], masks: Bool[Tensor, "batch rows columns"]
) -> Float[Tensor, ""]:
    """PxAP as published (Choe et al. 2020): the pixels of all pictures in one list."""
    return _average_precision(signed.flatten(), masks.flatten())


@register(
    "seed_iou",
    title="mIoU of seeds",
    source="Kolesnikov & Lampert 2016, arXiv 1603.06098 (seeds at a share of the maximum)",
    question="located",
    better="higher",
    range=(0.0, 1.0),
)
def seed_iou(
    seen: Float[Tensor, "batch rows columns"], masks: Bool[Tensor, "batch rows columns"], *, threshold: float = 0.2
) -> Float[Tensor, "batch"]:
    """Intersection over union of the target with the map above a share of its maximum, averaged with the background's.

    A map of zeros marks nothing.
    """
    peak = seen.amax(dim=(1, 2), keepdim=True)
    on = (seen >= threshold * peak) & (seen > 0)
    return torch.stack([_iou(on, masks), _iou(~on, ~masks)]).mean(dim=0)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    return (a & b).sum(dim=(1, 2)) / (a | b).sum(dim=(1, 2)).clamp(min=1)


def _share(values: Tensor, masks: Tensor) -> Tensor:
    """The share of non-negative values inside the masks; of a map of zeros what chance would give, the area."""
    total = values.sum(dim=(1, 2))
    inside = (values * masks).sum(dim=(1, 2))
    return torch.where(total > 0, inside / torch.where(total > 0, total, 1), masks.flatten(1).to(values.dtype).mean(1))


def _hits(values: Tensor, masks: Tensor, sizes: Tensor) -> Tensor:
    """How many of each map's ``sizes`` highest pixels lie in its mask; tied ones at the edge count as their share."""
    ordered, order = values.flatten(1).sort(dim=1, descending=True)
    last = ordered.take_along_dim((sizes - 1).clamp(min=0)[:, None], dim=1)
    inside = masks.flatten(1).take_along_dim(order, dim=1).to(values.dtype)
    above, tied = ordered > last, ordered == last
    left = sizes - above.sum(dim=1)
    return (inside * above).sum(dim=1) + (inside * tied).sum(dim=1) * left / tied.sum(dim=1)


def _best(found: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    return torch.stack([_best_of(one[None], own) for one, own in zip(found, boxes, strict=True)])


def _best_of(found: Tensor, own: Tensor) -> Tensor:
    return iou(found, own).amax() if len(found) else own.new_zeros(())


def _average_precision(values: Tensor, truth: Tensor) -> Tensor:
    """Sum of precision times the gain in recall, tied values entering together."""
    ordered, order = values.sort(descending=True)
    right = truth[order].cumsum(0).double()
    ends = torch.cat([ordered[1:] != ordered[:-1], ordered.new_ones(1, dtype=torch.bool)])
    right, counts = right[ends], torch.arange(1, len(values) + 1, device=values.device)[ends]
    gained = torch.diff(right, prepend=right.new_zeros(1))
    return (right / counts * gained).sum().div(truth.sum().clamp(min=1)).to(values.dtype)
