"""Detectors whose outputs are their candidates: a tensor of boxes with the scores of every class (YOLO-like heads)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from limelight.detectors.view import Heard, Reader
from limelight.errors import TargetError
from limelight.nested import describe, first_tensor
from limelight.targets import Candidates, Found, Group

SURE = 0.25
"""The probability from which a candidate is a detection."""
APART = 0.45
"""Of detections of one class that overlap more than this, the best stays."""
EPS = 1e-6


def reader_of(read: Callable[[Any], tuple[Tensor, Tensor]]) -> Reader:
    """The reader of a network whose outputs ``read`` turns into boxes and probabilities."""

    def candidates(network: nn.Module, heard: Heard) -> Candidates:
        boxes, probable = _checked(read(heard.outputs), len(heard.image))
        groups = [[Group(own.detach(), each.logit(eps=EPS), each)] for own, each in zip(boxes, probable, strict=True)]
        found = [_found(*one) for one in zip(boxes.detach(), probable.detach(), strict=True)]
        return Candidates(groups, found, heard.size)

    return Reader(candidates)


def yolo(layout: str = "batch boxes (box object classes)") -> Callable[[Any], tuple[Tensor, Tensor]]:
    """How a YOLO-like head's raw output is read: centre x, centre y, width, height in pixels, then probabilities.

    Args:
        layout: "batch boxes (box object classes)" with a probability of there being an object (YOLOv3 to v7), "batch
            boxes (box classes)", or "batch (box classes) boxes" (YOLOv8 and later).

    Raises:
        TargetError: another layout.
    """
    layouts = ("batch boxes (box object classes)", "batch boxes (box classes)", "batch (box classes) boxes")
    if layout not in layouts:
        raise TargetError(f"yolo({layout!r}): no such layout; there are {', '.join(map(repr, layouts))}")

    def read(outputs: Any) -> tuple[Tensor, Tensor]:
        tensor = first_tensor(outputs)
        if tensor is None or tensor.ndim != 3:
            raise TargetError(f"a YOLO-like head gives three dimensions, not {describe(tensor)}: write read= yourself")
        rows = tensor.transpose(1, 2) if layout.endswith(" boxes") else tensor
        boxes, rest = centred(rows[..., :4]), rows[..., 4:]
        return (boxes, rest[..., :1] * rest[..., 1:]) if "object" in layout else (boxes, rest)

    return read


def centred(boxes: Tensor) -> Tensor:
    """Boxes ``(..., 4)`` of centre x, centre y, width, height as x0, y0, x1, y1."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _checked(answer: Any, batch: int) -> tuple[Tensor, Tensor]:
    pair = isinstance(answer, tuple | list) and len(answer) == 2 and all(isinstance(each, Tensor) for each in answer)
    if pair:
        boxes, probable = answer
        fits = boxes.ndim == 3 and probable.ndim == 3 and boxes.shape[-1] == 4 and len(boxes) == batch
        if fits and boxes.shape[:2] == probable.shape[:2]:
            if not (float(probable.detach().amin()) >= 0 and float(probable.detach().amax()) <= 1):
                raise TargetError(
                    "read= gave probabilities outside [0, 1]: apply the sigmoid or softmax that they need"
                )
            return boxes, probable
    said = ", ".join(map(describe, answer)) if isinstance(answer, tuple | list) else describe(answer)
    raise TargetError(
        f"read= gave {said}: it must give boxes ({batch}, n, 4) and probabilities ({batch}, n, classes) of the outputs"
    )


def _found(boxes: Tensor, probable: Tensor) -> Found:
    from torchvision.ops import batched_nms

    best, classes = probable.max(dim=1)
    sure = (best > SURE).nonzero().flatten()
    kept = sure[batched_nms(boxes[sure].float(), best[sure].float(), classes[sure], APART)]
    return Found(boxes[kept], classes[kept], best[kept])
