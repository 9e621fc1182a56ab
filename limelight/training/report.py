"""How good a classifier is, in the figures the field uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from limelight.statistics import wilson
from limelight.training.calibrate import calibration_error

WORST = 20


def report(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """The figures of one split, ready for JSON.

    ``probabilities`` is (pictures, classes) and ``labels`` (pictures,) int. ``interval`` is Wilson's 95 % interval of
    the accuracy; ``roc_auc`` is of the second class against the first, or the unweighted mean over each class against
    the rest (None where a class is absent); ``confusion`` has a row for each true class and a column for each predicted
    one; ``calibration_error`` is the expected one, in 15 bins.
    """
    predicted = probabilities.argmax(1)
    right = int((predicted == labels).sum())
    counts = confusion(labels, predicted, len(classes))
    truths = torch.from_numpy(labels)
    chosen = probabilities[np.arange(len(labels)), labels]
    return {
        "pictures": len(labels),
        "accuracy": right / len(labels),
        "interval": list(wilson(right, len(labels))),
        "balanced_accuracy": balanced_accuracy(counts),
        "roc_auc": roc_auc(probabilities, labels),
        "log_loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        "calibration_error": calibration_error(torch.from_numpy(probabilities), truths),
        "confusion": counts.tolist(),
        "classes": {name: _of_class(counts, index) for index, name in enumerate(classes)},
    }


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) How many pictures of each true class (rows) are called what (columns)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def balanced_accuracy(counts: np.ndarray) -> float:
    """The mean recall of the classes that are there."""
    there = counts.sum(1) > 0
    return float((counts.diagonal()[there] / counts.sum(1)[there]).mean())


def roc_auc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """The area under the ROC curve: how often a picture of the class outranks one of another; ties count half."""
    classes = range(probabilities.shape[1])
    if len(np.unique(labels)) < len(classes):
        return None
    ones = [1] if len(classes) == 2 else classes
    return float(np.mean([_auc(probabilities[:, one], labels == one) for one in ones]))


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """By the sum of ranks (Mann and Whitney 1947)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    many = int(positive.sum())
    return float((ranks[positive].sum() - many * (many + 1) / 2) / (many * (len(scores) - many)))


def _of_class(counts: np.ndarray, index: int) -> dict[str, Any]:
    hit, said, true = int(counts[index, index]), int(counts[:, index].sum()), int(counts[index].sum())
    return {
        "pictures": true,
        "precision": hit / said if said else None,
        "recall": hit / true if true else None,
    }


def worst_mistakes(
    names: Sequence[str], probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], most: int = WORST
) -> list[dict[str, Any]]:
    """The pictures whose true class was given the least probability though another was predicted, worst first."""
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(probabilities[wrong, labels[wrong]], kind="stable")][:most]
    return [
        {
            "path": names[i],
            "label": classes[int(labels[i])],
            "prediction": classes[int(predicted[i])],
            "probability": float(probabilities[i, predicted[i]]),
            "probability_of_label": float(probabilities[i, labels[i]]),
        }
        for i in order
    ]
