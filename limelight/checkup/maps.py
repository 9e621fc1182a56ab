"""Checks of the maps: do they depend on the class, on what was learnt, and on the picture more than on its border?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from limelight.checkup.finding import Finding
from limelight.checkup.patient import Patient, alike
from limelight.errors import LimelightError
from limelight.evaluation.randomise import layers_from_the_top, randomised
from limelight.heatmap import rectify

SAME = 0.95
"""Maps that correlate as much, on the mean, are the same map."""
BORDER = 3.0
"""How much more of a map of noise may lie in the outermost cells than their share of the area."""


def ignores_the_class(patient: Patient) -> Iterator[Finding]:
    """The same map for the class that is predicted and for those that are not."""
    logits = patient.logits
    if logits is None or logits.shape[1] < 2:
        return
    order = logits.argsort(dim=1, descending=True)
    others = sorted({1, order.shape[1] // 2, order.shape[1] - 1})
    try:
        found = [alike(rectify(patient.own_maps), rectify(patient.maps(order[:, k].tolist()))) for k in others]
    except LimelightError:
        return
    if (same := _mean(found)) is not None and same > SAME:
        yield Finding(
            "class",
            f"the map of the predicted class and those of others correlate by {same:.2f}: it shows where something is, "
            "not what speaks for the class",
            "Use a method that is told to be discriminative (`limelight methods`), such as gradcam, or ask "
            "contrast(a, b); if it is one, the head has hardly told the classes apart",
        )


def ignores_the_head(patient: Patient) -> Iterator[Finding]:
    """The same map when the last layer's weights are drawn anew (Adebayo et al. 2018)."""
    layers = layers_from_the_top(patient.network)[:1]
    if patient.logits is None or not layers:
        return
    classes = patient.logits.argmax(dim=1).tolist()
    try:
        own = rectify(patient.own_maps)
        twins = [randomised(patient.network, layers, seed) for seed in (0, 1, 2)]
        found = [alike(own, rectify(patient.maps(classes, network=twin))) for twin in twins]
    except LimelightError:
        return
    if (same := _mean(found)) is not None and same > SAME:
        yield Finding(
            "head",
            f"the map stays as it is (correlation {same:.2f}) when the last layer, '{layers[0]}', is drawn anew: it "
            "does not show what the network learnt about the class",
            "Use another method; `limelight methods` says which depend on the target",
        )


def border(patient: Patient) -> Iterator[Finding]:
    """Maps of noise that lie along the border, where there is nothing to see."""
    if patient.images.ndim != 4 or patient.logits is None:
        return
    random = torch.Generator().manual_seed(2)
    like = patient.images
    noise = torch.randn(like.shape, generator=random).to(like) * like.float().std().to(like) + like.mean()
    try:
        found = rectify(patient.maps(None, images=noise))
    except LimelightError:
        return
    if min(found.shape[1:]) < 5 or not bool(found.any()):
        return
    inside = found[:, 1:-1, 1:-1].flatten(1).sum(dim=1)
    whole = found.flatten(1).sum(dim=1).clamp(min=1e-12)
    share = float((1 - inside / whole).mean())
    area = 1 - (found.shape[1] - 2) * (found.shape[2] - 2) / (found.shape[1] * found.shape[2])
    if share > min(BORDER * area, (1 + area) / 2):
        yield Finding(
            "padding",
            f"{share:.0%} of the maps of plain noise lie in the outermost cells, which are {area:.0%} of the area: the "
            "network sees its own padding",
            "Don't believe heat along a border; pad by reflection (padding_mode), or explain a larger picture in "
            "which the object keeps clear of the border",
        )


def _mean(correlations: list[Tensor]) -> float | None:
    values = torch.stack(correlations).flatten()
    values = values[values.isfinite()]
    return float(values.mean()) if len(values) else None


CHECKS = (ignores_the_class, ignores_the_head, border)
