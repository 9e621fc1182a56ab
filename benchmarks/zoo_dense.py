"""The zoo's segmentation and detection networks of torchvision: how they are made, and what they are asked.

A segmenter is asked for the region that it predicts, and for the mean of another class over the picture. A detector is
asked for its first two detections, of whatever probability, as probabilities: those are among what it returns, with a
graph, so that the reference needs nothing of limelight's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import limelight as ll

SIDES = {"min_size": 128, "max_size": 160}
"""What a detector that takes any size shrinks its pictures to."""
FEW = (
    {"box_detections_per_img": 5, "rpn_post_nms_top_n_test": 50, "rpn_pre_nms_top_n_test": 100},
    {
        "detections_per_img": 5,
        "topk_candidates": 50,
    },
)
"""How many proposals and detections are kept, by two stages and by one: as few as will do (FCOS's
untrained boxes are mostly empty)."""


def kind(name: str) -> str | None:
    """Which of the two a network of the zoo is: "segmentation", "detection", or None for neither."""
    from torchvision import models

    source, _, plain = name.partition(":")
    kinds = {"segmentation": models.segmentation, "detection": models.detection}
    found = (which for which, module in kinds.items() if plain in models.list_models(module=module))
    return next(found, None) if source == "torchvision" else None


def options(name: str) -> dict[str, Any]:
    """What its builder is told: no weights; of a detector, to keep detections of any probability."""
    plain = name.partition(":")[2]
    told: dict[str, Any] = {"weights": None, "weights_backbone": None}
    if kind(name) == "detection":
        told |= ({} if plain.startswith("ssd") else SIDES) | ({} if "fcos" in plain else FEW["rcnn" not in plain])
        told["box_score_thresh" if "rcnn" in plain else "score_thresh"] = 0.0
    return told


def asked(name: str, network: nn.Module, images: Tensor) -> tuple[Any, list[Any]]:
    """limelight's target of two questions, and each of them as a function of the outputs: a sum over the batch."""
    if kind(name) == "detection":

        def nth(number: int) -> Any:
            return lambda outputs: torch.stack([each["scores"][_with_area(each["boxes"])][number] for each in outputs])

        return ll.probability(ll.detections(most=2)), [nth(0), nth(1)]
    with torch.no_grad():
        maps = network(images)["out"]
    said = maps.argmax(dim=1)
    often = torch.stack([(said == index).flatten(1).sum(dim=1) for index in range(maps.shape[1])], dim=1)
    seldom = int(often.sum(dim=0).argmin())
    height, width = maps.shape[2:]

    def region(outputs: Any) -> Tensor:
        own = [
            one[index][where == index].mean()
            for one, where, index in zip(outputs["out"], said, often.argmax(1), strict=True)
        ]
        return torch.stack(own)

    elsewhere = ll.region(seldom, box=(0, 0, width, height))
    return ll.each(ll.region(), elsewhere), [region, lambda outputs: outputs["out"][:, seldom].mean(dim=(1, 2))]


def _with_area(boxes: Tensor) -> Tensor:
    """Which boxes ``(n, 4)`` hold anything: untrained detectors find some that don't."""
    return (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
