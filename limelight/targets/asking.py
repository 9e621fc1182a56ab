"""What is being explained: a question to the network's outputs whose answer is one score for each image.

A question is a small value that can be printed. It is answered in two steps: :func:`ask` settles what every image of
a batch is asked (the predicted class is known only after the forward pass), and each
:class:`~limelight.targets.asked.Asked` then computes scores from the outputs, differentiably.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.nested import describe, first_tensor
from limelight.targets.asked import Asked, Labels, Named, Question, Target, on_logits_only
from limelight.targets.boxes import Boxed, Candidates, Detections
from limelight.targets.regions import Region, class_maps
from limelight.targets.scores import Top, ask_best, ask_class, ask_each, class_index, logits_of, scores_of


def check(target: Target, batch: int, labels: Labels = None) -> None:
    """Find what is wrong with a target before the network runs: unknown labels, a list of the wrong length.

    Raises:
        TargetError: as said.
    """
    target = plain(target)
    if _is_list(target):
        for one in _for_images(target, batch):
            check(one, batch, labels)
    elif isinstance(target, Question):
        target.check(batch, labels)
    elif isinstance(target, int | str):
        class_index(target, len(labels) if labels else None, labels)
    elif target is not None and not callable(target):
        raise TargetError(
            f"{target!r} is no target: give a class index, a label, a callable from outputs to (batch,) scores, "
            "limelight.each(...) or limelight.top(k), or a list with one of these for each image"
        )


def ask(target: Target, outputs: Any, labels: Labels = None, scale: str = "logit") -> list[Asked]:
    """Settle a target for a batch: one :class:`Asked` for each target, each about every image.

    Raises:
        TargetError: the target does not fit the outputs (range, number, no class scores among the outputs).
    """
    target = plain(target)
    if _is_list(target):
        on_logits_only(target, scale)
        return _ask_by_image(target, outputs, labels)
    if isinstance(outputs, Candidates) and isinstance(target, int | str | Top | None):
        boxes = Detections(most=target.k) if isinstance(target, Top) else Boxed(target)
        return boxes.ask(outputs, labels, scale)
    if isinstance(target, Question):
        return target.ask(outputs, labels, scale)
    if callable(target):
        on_logits_only(target, scale)
        return [_ask_callable(target, outputs)]  # pyright: ignore[reportArgumentType]: its answer is looked at
    logits = logits_of(outputs)
    if logits is None and scale == "logit" and class_maps(outputs) is not None:
        return Region(target).ask(outputs, labels, scale)
    logits = scores_of(outputs)
    return ask_best(1, logits, labels, scale) if target is None else [ask_class(target, logits, labels, scale)]


def _ask_callable(function: Callable[[Any], Tensor], outputs: Any) -> Asked:
    name = getattr(function, "__name__", type(function).__name__)
    batch = _batch_of(outputs)

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        scores = function(outputs)
        if not isinstance(scores, Tensor) or scores.ndim != 1 or (batch is not None and len(scores) != batch * repeats):
            raise TargetError(
                f"target {name!r} gave {describe(scores)}: it must give one score an image, shape ({batch},)"
            )
        return scores

    return Asked(named=(Named(None, "score" if name == "<lambda>" else name),) * (batch or 1), score=score)


def _ask_by_image(targets: Any, outputs: Any, labels: Labels) -> list[Asked]:
    """One target for each image: ask each of the whole batch, keep its own image's answer."""
    targets, logits = _for_images(targets, _batch_of(outputs)), logits_of(outputs)
    if logits is not None and all(isinstance(one, int | str) for one in targets):  # the common case, at no extra cost
        return [ask_each(targets, logits, labels, "logit")]
    asked = [ask(one, outputs, labels) for one in targets]
    if len(counts := {len(one) for one in asked}) > 1:
        raise TargetError(f"every image needs as many targets as the others, not {sorted(counts)}")
    return [_own_answers(column) for column in zip(*asked, strict=True)]


def _own_answers(column: Sequence[Asked]) -> Asked:
    return Asked(
        named=tuple(one.named[i] for i, one in enumerate(column)),
        score=lambda outputs, repeats=1: torch.stack(
            [one.score(outputs, repeats)[i :: len(column)] for i, one in enumerate(column)], dim=1
        ).flatten(),
    )


def part(target: Target, start: int, stop: int, total: int) -> Target:
    """The target of images ``start`` to ``stop`` of ``total``."""
    if _is_list(target):
        return target[start:stop]
    return target.part(start, stop, total) if isinstance(target, Question) else target


def questions(target: Target, start: int, stop: int, total: int) -> list[Target]:
    """What each of the images ``start`` to ``stop`` of ``total`` is asked."""
    each = range(start, stop)
    return [target[i] if _is_list(target) else part(target, i, i + 1, total) for i in each]


def _is_list(target: Target) -> bool:
    return isinstance(target, list | tuple) or (hasattr(target, "tolist") and target.ndim > 0)


def plain(target: Target) -> Target:
    """A scalar of numpy or torch as a number of Python's; anything else as it is."""
    return target.item() if hasattr(target, "tolist") and target.ndim == 0 else target


def _for_images(targets: Any, batch: int | None) -> list[Target]:
    targets = targets.tolist() if hasattr(targets, "tolist") else [plain(one) for one in targets]
    if batch is not None and len(targets) != batch:
        raise TargetError(
            f"{len(targets)} targets for {batch} images: a list holds one target an image; "
            "for several targets of every image write limelight.each(...)"
        )
    return targets


def _batch_of(outputs: Any) -> int | None:
    if isinstance(outputs, Candidates):
        return len(outputs)
    tensor = logits_of(outputs)
    if tensor is None:
        tensor = outputs if isinstance(outputs, Tensor) else first_tensor(outputs)
    return len(tensor) if tensor is not None and tensor.ndim else None
