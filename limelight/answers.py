"""What a network said, read off its outputs: its best classes, and the probabilities of what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight.explanation import Prediction
from limelight.targets import Asked, Candidates, Labels, label_of, logits_of, probabilities_of

if TYPE_CHECKING:
    from jaxtyping import Float

PREDICTIONS = 5
"""How many predictions an explanation keeps for each image."""


def probabilities_asked(
    asked: Sequence[Asked], outputs: Any, labels: Labels, batch: int
) -> Float[Tensor, "batch targets"]:
    """Each target's probability; NaN where it is not about a class."""
    logits = logits_of(outputs)
    indices = torch.tensor([[-1 if name.index is None else name.index for name in one.named] for one in asked]).T
    if logits is None:
        found = torch.full(indices.shape, torch.nan)
    else:
        indices = indices.to(logits.device)
        found = probabilities_of(logits.detach().float(), labels).gather(1, indices.clamp(min=0))
        found.masked_fill_(indices < 0, torch.nan)
    for number, one in enumerate(asked):
        if one.probabilities is not None:
            found[:, number] = one.probabilities
    return found


def predictions_of(outputs: Any, labels: Labels, batch: int) -> list[list[Prediction]]:
    """The most probable classes of each image; of a detector, its detections'."""
    if isinstance(outputs, Candidates):
        found = [(one.probabilities[:PREDICTIONS], one.classes[:PREDICTIONS]) for one in outputs.found]
    elif (logits := logits_of(outputs)) is not None:
        known = probabilities_of(logits.detach().float(), labels)
        found = list(zip(*known.topk(min(PREDICTIONS, known.shape[1]), dim=1), strict=True))
    else:
        return [[] for _ in range(batch)]
    return [
        [Prediction(i, label_of(i, labels), p) for p, i in zip(values.tolist(), indices.tolist(), strict=True)]
        for values, indices in found
    ]
