"""torchvision's detectors: their candidates, from what their own modules say and decode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from limelight.detectors.view import Heard, Reader
from limelight.targets import Candidates, Found, Group
from limelight.targets.asked import Box

Net = Any  # a module of torchvision's, whose attributes no checker knows


def _candidates(network: Net, heard: Heard, groups: list[list[Group]], background: int | None) -> Candidates:
    found = [Found(each["boxes"].detach(), each["labels"], each["scores"].detach()) for each in heard.outputs]
    return Candidates(groups, found, heard.size, background, _canvas(heard))


def _canvas(heard: Heard) -> Box:
    """What the padded input of the backbone covers of the picture, in the picture's pixels."""
    padded, sizes = _seen(heard)
    height, width = heard.size
    rows, columns = sizes[0]
    return 0.0, 0.0, padded[1] / columns * width, padded[0] / rows * height


def _seen(heard: Heard) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The backbone's padded input, and what each picture takes of it: (height, width)."""
    pictures = heard.gave["transform"][0][0]
    return tuple(pictures.tensors.shape[-2:]), pictures.image_sizes


def _on_picture(boxes: Tensor, seen: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Boxes ``(..., 4)`` on the resized picture, clipped to it, in the picture's own pixels."""
    limits = boxes.new_tensor([seen[1], seen[0]]).repeat(2)
    ratios = boxes.new_tensor([size[1] / seen[1], size[0] / seen[0]]).repeat(2)
    return torch.minimum(boxes.clamp(min=0), limits) * ratios


# ---- two stages: proposals, then their classes


def _read_rcnn(network: Net, heard: Heard) -> Candidates:
    logits, deltas = heard.gave["roi_heads.box_predictor"][0]
    proposals = heard.given["roi_heads.box_roi_pool"][0][1]
    decoded = network.roi_heads.box_coder.decode(deltas.detach(), proposals)
    counts = [len(each) for each in proposals]
    rows = zip(*(tensor.split(counts) for tensor in (decoded, logits, _softmax(logits))), strict=True)
    groups = [
        [
            Group(
                _on_picture(boxes, seen, heard.size),
                scores,
                probable,
                partial(_again, network.roi_heads, heard, i),
                _softmax,
            )
        ]
        for i, ((boxes, scores, probable), seen) in enumerate(zip(rows, _seen(heard)[1], strict=True))
    ]
    return _candidates(network, heard, groups, background=0)


def _again(heads: Net, heard: Heard, image: int, row: int) -> Tensor:
    """The class logits of one proposal: its heads, run once more on the same features."""
    features, proposals, sizes = heard.given["roi_heads.box_roi_pool"][0]
    own = {name: level[image : image + 1] for name, level in features.items()}
    pooled = heads.box_roi_pool(own, [proposals[image][row : row + 1]], [sizes[image]])
    return heads.box_predictor(heads.box_head(pooled))[0][0]


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=-1)


RCNN = Reader(
    _read_rcnn,
    lambda network: ["transform", "roi_heads.box_roi_pool", "roi_heads.box_predictor"],
    pyramid="backbone",
)


# ---- one stage: boxes around anchors, level by level


def _level(given: Tensor, columns: int) -> Tensor:
    """A level's ``(batch, anchors * columns, height, width)`` as ``(batch, height * width * anchors, columns)``."""
    batch, _, height, width = given.shape
    return given.view(batch, -1, columns, height, width).permute(0, 3, 4, 1, 2).reshape(batch, -1, columns)


def _read_anchors(
    network: Net,
    heard: Heard,
    levels: Sequence[tuple[Tensor, Tensor]],
    decode: Callable[[Tensor, Tensor], Tensor],
    background: int | None,
) -> Candidates:
    """Candidates of levels ``(logits, probabilities)``, each ``(batch, n, classes)``.

    The levels are kept apart, not taken from the head's output, where they are joined: what is asked of one level is
    then pulled back through that level alone.
    """
    counts = [logits.shape[1] for logits, _ in levels]
    _, sizes = _seen(heard)
    groups: list[list[Group]] = []
    for i, seen in enumerate(sizes):
        boxes = decode(heard.gave["head"][0]["bbox_regression"][i].detach(), heard.gave["anchor_generator"][0][i])
        own = _on_picture(boxes, seen, heard.size).split(counts)
        groups.append([Group(own[k], logits[i], probable[i]) for k, (logits, probable) in enumerate(levels)])
    return _candidates(network, heard, groups, background)


def _read_retinanet(network: Net, heard: Heard) -> Candidates:
    classes = network.head.classification_head.num_classes
    logits = [_level(each, classes) for each in heard.gave["head.classification_head.cls_logits"]]
    levels = [(each, each.sigmoid()) for each in logits]
    return _read_anchors(network, heard, levels, network.box_coder.decode_single, background=None)


def _read_fcos(network: Net, heard: Heard) -> Candidates:
    classes = network.head.classification_head.num_classes
    logits = (_level(each, classes) for each in heard.gave["head.classification_head.cls_logits"])
    centres = (_level(each, 1) for each in heard.gave["head.regression_head.bbox_ctrness"])
    probable = [(own.sigmoid() * centre.sigmoid()).sqrt() for own, centre in zip(logits, centres, strict=True)]
    levels = [(each.logit(eps=1e-6), each) for each in probable]
    return _read_anchors(network, heard, levels, network.box_coder.decode, background=None)


def _read_ssd(network: Net, heard: Heard) -> Candidates:
    classes = network.head.classification_head.num_columns
    logits = [_level(heard.gave[name][0], classes) for name in _ssd_heads(network)]
    levels = [(each, each.softmax(dim=-1)) for each in logits]
    return _read_anchors(network, heard, levels, network.box_coder.decode_single, background=0)


def _ssd_heads(network: Net) -> list[str]:
    return [
        f"head.classification_head.module_list.{k}" for k in range(len(network.head.classification_head.module_list))
    ]


_ANCHORED = ["transform", "head", "anchor_generator"]
RETINANET = Reader(_read_retinanet, lambda network: [*_ANCHORED, "head.classification_head.cls_logits"], "backbone")
FCOS = Reader(
    _read_fcos,
    lambda network: [*_ANCHORED, "head.classification_head.cls_logits", "head.regression_head.bbox_ctrness"],
    "backbone",
)
SSD = Reader(_read_ssd, lambda network: [*_ANCHORED, *_ssd_heads(network)], "backbone")
