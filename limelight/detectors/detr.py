"""DETR and its kin: a set of boxes, each with its classes, none of them suppressed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from limelight.detectors.raw import centred
from limelight.detectors.view import Heard, Reader
from limelight.targets import Candidates, Found, Group

SURE = 0.5
"""The probability from which a box is a detection, as the library's own post-processing has it by default."""


def is_detr(network: nn.Module) -> bool:
    """Whether a network of the transformers library answers with ``logits`` and ``pred_boxes``."""
    kind = type(network)
    return kind.__module__.startswith("transformers.") and kind.__name__.endswith("ForObjectDetection")


def _read(network: nn.Module, heard: Heard) -> Candidates:
    """``logits`` ``(batch, queries, classes[ + 1])`` and ``pred_boxes``, centre and size in shares of the picture."""
    logits, boxes = heard.outputs.logits, heard.outputs.pred_boxes.detach()
    height, width = heard.size
    boxes = centred(boxes) * boxes.new_tensor([width, height, width, height])
    background = _background(network, logits.shape[-1])
    probable = logits.sigmoid() if background is None else logits.softmax(dim=-1)
    groups = [[Group(*one)] for one in zip(boxes, logits, probable, strict=True)]
    found = [_found(own, each.detach(), background) for own, each in zip(boxes, probable, strict=True)]
    return Candidates(groups, found, heard.size, background)


def _background(network: Any, columns: int) -> int | None:
    """The last column, in networks that end in a softmax with "no object" (DETR, YOLOS, Conditional DETR has none)."""
    return columns - 1 if columns == network.config.num_labels + 1 else None


def _found(boxes: Tensor, probable: Tensor, background: int | None) -> Found:
    objects = probable if background is None else probable[:, :background]
    best, classes = objects.max(dim=1)
    order = best.argsort(descending=True)
    order = order[best[order] > SURE]
    return Found(boxes[order], classes[order], best[order])


READER = Reader(_read)
