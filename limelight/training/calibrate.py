"""Probabilities that mean what they say: temperature scaling.

One number divides the scores so that the softmax is as likely as can be on pictures the network did not learn from (Guo
et al. 2017, *On Calibration of Modern Neural Networks*, section 4.2). It changes no prediction. It is folded into the
head, so whoever loads the network gets calibrated probabilities without knowing of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limelight.models import Model
from limelight.training.networks import example, head

LOWEST, HIGHEST = 0.05, 20.0
_STEPS = 100


def temperature(scores: Tensor, labels: Tensor) -> float:
    """The temperature with the least cross-entropy of ``scores`` (pictures, classes); within 0.05 to 20.

    The labels are softened as Platt 1999 softens them (*Probabilistic Outputs for Support Vector Machines*, section
    2.2): of a class with n pictures each counts (n + 1) / (n + classes). Else some pictures, all of them right, would
    make every probability 1. The cross-entropy is convex in the temperature's inverse, so its slope is bisected.
    """
    scores, classes = scores.double(), scores.shape[1]
    counts = torch.bincount(labels, minlength=classes)[labels, None]
    truth = (F.one_hot(labels, classes) * counts + 1) / (counts + classes)
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        slope = (((scores * middle).softmax(1) - truth) * scores).sum(1).mean()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)


def fold_in(model: Model, temperature: float) -> bool:
    """Divide the head's outputs by ``temperature``, in place; whether the network's outputs follow.

    Where they don't (something not linear comes after the head) the head is left as it was.
    """
    module: nn.Module = head(model)[1]
    x = example(model) + 0.5
    parameters = list(module.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        wanted = model.network.eval()(x) / temperature
        for parameter in parameters:
            parameter /= temperature
        if torch.allclose(model.network(x), wanted, rtol=1e-3, atol=1e-5):
            return True
        for parameter, value in zip(parameters, before, strict=True):
            parameter.copy_(value)
    return False


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """The expected calibration error, in [0, 1]: how far confidence and accuracy lie apart (Guo et al. 2017, eq. 3).

    Pictures are sorted into ``bins`` of equal width by the probability (pictures, classes) of what is predicted.
    """
    confidence, predicted = probabilities.double().max(1)
    right = (predicted == labels).double()
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.double).index_add_(0, bin_of, right - confidence)
    return float(gaps.abs().sum() / len(labels))
