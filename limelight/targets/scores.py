"""Class scores: which class is asked about, on which scale, under which name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from limelight.errors import TargetError, closest
from limelight.nested import main_output
from limelight.targets.asked import Asked, Labels, Named, Question


@dataclass(frozen=True)
class Top(Question):
    """The ``k`` best classes of each image: as many targets, best first."""

    k: int = 1

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """The ``k`` best of each image, one after the other."""
        return ask_best(self.k, scores_of(outputs), labels, scale)


def top(k: int) -> Top:
    """The ``k`` classes with the highest scores, best first: ``k`` targets for every image.

    Of a detector: its ``k`` most probable detections.
    """
    if k < 1:
        raise TargetError(f"top({k}): ask for at least one class")
    return Top(k)


# ---- in a network's outputs


def logits_of(outputs: Any) -> Tensor | None:
    """The class scores ``(batch, classes)`` in a network's outputs, or None if there are none.

    They are the outputs themselves, their ``logits`` (attribute or key), or the first of a tuple (auxiliary heads). One
    number an image, ``(batch,)`` or for one image ``()``, is a column of them; not the first of a tuple, which would
    rather be a loss. So is a map of a single cell, ``(batch, classes, 1, 1)``, with which convolutional heads end.
    """
    if isinstance(outputs, Mapping) and "logits" not in outputs:
        return None
    scores = main_output(outputs)
    if not isinstance(scores, Tensor):
        return None
    if scores.ndim < 2:
        return None if isinstance(outputs, tuple | list) else scores.reshape(-1, 1)
    if scores.ndim > 3 and all(side == 1 for side in scores.shape[2:]):
        return scores.flatten(1)
    return scores if scores.ndim == 2 else None


def scores_of(outputs: Any) -> Tensor:
    """As :func:`logits_of`, where there must be some.

    Raises:
        TargetError: there are none.
    """
    from limelight.nested import describe

    logits = logits_of(outputs)
    if logits is None:
        raise TargetError(
            f"the outputs are {describe(outputs)}, without class scores (batch, classes): "
            "give target= a callable from outputs to (batch,) scores"
        )
    return logits


def probabilities_of(logits: Tensor, labels: Labels = None) -> Tensor:
    """``(batch, classes)`` logits -> probabilities: softmax, or sigmoid where there is one output.

    Where that one output decides between two labels, ``(batch, 2)``: of the first, and of the second.
    """
    if logits.shape[1] > 1:
        return logits.softmax(dim=1)
    yes = logits.sigmoid()
    return torch.cat([1 - yes, yes], dim=1) if two_sided(logits, labels) else yes


def two_sided(logits: Tensor, labels: Labels) -> bool:
    """Whether one output decides between two named classes: against the first, for the second."""
    return logits.shape[1] == 1 and labels is not None and len(labels) == 2


# ---- which class


def class_index(target: int | str, classes: int | None, labels: Labels) -> int:
    """The index of a class given by index or label.

    Raises:
        TargetError: out of range, unknown, ambiguous, or a label without labels to look it up in.
    """
    if isinstance(target, str):
        return _index_of_label(target, labels)
    index = int(target)
    if classes is not None and not -classes <= index < classes:
        raise TargetError(f"class {index} is out of range: the network has {_counted(classes)}")
    return index % classes if classes else index


def _counted(classes: int) -> str:
    if classes > 1:
        return f"{classes} classes, 0 to {classes - 1}"
    return "one output, class 0; what speaks against it is counter(0), and with two labels it is both of them"


def _index_of_label(label: str, labels: Labels) -> int:
    if labels is None:
        raise TargetError(f"no labels to look {label!r} up in: give the class's index, or the network's labels=")
    exact = [i for i, known in enumerate(labels) if known == label]
    matches = exact or [i for i, known in enumerate(labels) if known.casefold() == label.strip().casefold()]
    if not matches:
        raise TargetError(f"no class is called {label!r}.{closest(label, labels)}")
    if len(matches) > 1:
        raise TargetError(f"{len(matches)} classes are called {label!r}: give an index, one of {matches}")
    return matches[0]


def label_of(index: int, labels: Labels) -> str:
    """The class's label, or "class 7" where there is none."""
    return str(labels[index]) if labels and index < len(labels) else f"class {index}"


# ---- asked


def ask_best(k: int, logits: Tensor, labels: Labels, scale: str) -> list[Asked]:
    """The ``k`` best classes of each image, best first.

    Raises:
        TargetError: there are not so many.
    """
    sides = _sides(logits) if two_sided(logits, labels) else logits
    if k > sides.shape[1]:
        raise TargetError(f"top({k}): the network has only {_counted(sides.shape[1])}")
    return [_asked(ranked, logits, labels, scale) for ranked in sides.detach().topk(k, dim=1).indices.T]


def ask_class(target: int | str, logits: Tensor, labels: Labels, scale: str) -> Asked:
    """One class of every image."""
    return ask_each([target] * len(logits), logits, labels, scale)


def ask_each(targets: list[int | str], logits: Tensor, labels: Labels, scale: str) -> Asked:
    """One class for each image.

    Raises:
        TargetError: there is no such class.
    """
    count = 2 if two_sided(logits, labels) else logits.shape[1]
    classes = [class_index(target, count, labels) for target in targets]
    return _asked(torch.tensor(classes, device=logits.device), logits, labels, scale)


def _asked(classes: Tensor, logits: Tensor, labels: Labels, scale: str) -> Asked:
    prefix = "" if scale == "logit" else f"{scale} of "
    named = tuple(Named(i, prefix + label_of(i, labels)) for i in classes.tolist())
    if two_sided(logits, labels):
        return Asked(named, _score_sides(classes, scale))
    return Asked(named, score_classes(classes, scale), classes, scale)


def _sides(logits: Tensor) -> Tensor:
    """``(batch, 1)`` -> ``(batch, 2)``: what speaks for the first of two classes, and for the second."""
    return torch.cat([-logits, logits], dim=1)


def _score_sides(classes: Tensor, scale: str) -> Callable[..., Tensor]:
    def score(outputs: Any, repeats: int = 1) -> Tensor:
        sides = _sides(scores_of(outputs))
        chosen = torch.arange(2, device=sides.device) == classes.repeat(repeats)[:, None]
        own = torch.where(chosen, sides, 0).sum(dim=1, keepdim=True)
        return class_scores(own, torch.zeros_like(own[:, 0], dtype=torch.int64), scale)

    return score


def class_scores(logits: Tensor, classes: Tensor, scale: str = "logit") -> Tensor:
    """``(batch, classes)`` logits and ``(batch,)`` indices -> ``(batch,)`` scores on the given scale.

    The class is picked by a comparison mask, not ``gather``: its gradient is then a mask too, which every exporter has.
    """
    chosen = torch.arange(logits.shape[1], device=logits.device) == classes[:, None]
    return torch.where(chosen, _on_scale(logits, scale), 0).sum(dim=1)


def scores_of_classes(asked: Sequence[Asked], outputs: Any) -> Tensor | None:
    """The scores ``(batch, targets)`` of several targets, if they are classes on one scale; without a graph."""
    classes = [one.classes for one in asked if one.classes is not None]
    if len(classes) < len(asked) or len({one.scale for one in asked}) > 1:
        return None
    return _on_scale(scores_of(outputs).detach(), asked[0].scale).gather(1, torch.stack(classes, dim=1))


def _on_scale(logits: Tensor, scale: str) -> Tensor:
    if scale == "probability":
        return probabilities_of(logits)
    if scale == "log probability":
        return _log_probabilities(logits)
    return logits + _log_probabilities(logits) if scale == "ReST" else logits


def _log_probabilities(logits: Tensor) -> Tensor:
    return F.logsigmoid(logits) if logits.shape[1] == 1 else logits.log_softmax(dim=1)


def score_classes(classes: Tensor, scale: str) -> Callable[..., Tensor]:
    """The score of each image's class, for :class:`~limelight.targets.asked.Asked`."""
    return lambda outputs, repeats=1: class_scores(scores_of(outputs), classes.repeat(repeats), scale)
