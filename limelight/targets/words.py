"""Words: why a captioner says this word here, or this sentence; why an answer is this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.errors import TargetError
from limelight.nested import describe, main_output
from limelight.targets.asked import Asked, Labels, Named, Question, on_logits_only
from limelight.targets.scores import class_index, label_of


@dataclass(frozen=True)
class Word(Question):
    """One word (see :func:`word`)."""

    which: int | str | None = None
    at: int | None = None

    def check(self, batch: int, labels: Labels) -> None:
        """Whether the vocabulary has it."""
        if self.which is not None:
            class_index(self.which, len(labels) if labels else None, labels)

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """The logarithm of its probability, given the words before it."""
        on_logits_only(self, scale)
        scores = word_scores(outputs)
        said = scores.detach().argmax(dim=2)
        length = scores.shape[1]
        if self.at is not None and not -length <= self.at < length:
            raise TargetError(f"word(at={self.at}): the network says {length} words, 0 to {length - 1}")
        index = None if self.which is None else class_index(self.which, scores.shape[2], labels)
        if index is None:
            assert self.at is not None, "one of the two is given"
            places = [self.at % length] * len(scores)
            indices = said[:, self.at].tolist()
        else:
            indices = [index] * len(scores)
            places = [self.at % length] * len(scores) if self.at is not None else _said_at(said, index, labels)
        return [_asked([[place] for place in places], [[i] for i in indices], scores, labels)]


@dataclass(frozen=True)
class Words(Question):
    """Every word, or the sentence as one (see :func:`words` and :func:`sentence`)."""

    which: tuple[int | str, ...] | None = None
    whole: bool = False

    def check(self, batch: int, labels: Labels) -> None:
        """Whether the vocabulary has them."""
        for one in self.which or ():
            class_index(one, len(labels) if labels else None, labels)

    def ask(self, outputs: Any, labels: Labels, scale: str) -> list[Asked]:
        """A target for each position, or one for all."""
        on_logits_only(self, scale)
        scores = word_scores(outputs)
        length = len(self.which) if self.which is not None else scores.shape[1]
        if length > scores.shape[1]:
            raise TargetError(f"{length} words were given, and the network's outputs have room for {scores.shape[1]}")
        if self.which is None:
            indices = scores.detach().argmax(dim=2).tolist()
        else:
            indices = [[class_index(one, scores.shape[2], labels) for one in self.which]] * len(scores)
        if self.whole:
            return [_asked([list(range(length))] * len(scores), indices, scores, labels)]
        return [
            _asked([[place]] * len(scores), [[own[place]] for own in indices], scores, labels)
            for place in range(length)
        ]


def word(which: int | str | None = None, at: int | None = None) -> Word:
    """Why the network says a word: the logarithm of its probability at its place, given the words before it.

    For networks whose outputs, or their ``logits``, are ``(batch, positions, vocabulary)``: captioners, generated
    answers. What they are given for the words before (``decoder_input_ids``) belongs to the call.

    Args:
        which: its index, or the word itself where the network has labels; None for what is most probable there.
        at: the position in the network's outputs; None for the first where the network says this word.

    Raises:
        TargetError: neither is given; and, when the network has run, if it has no such position, or does not say it.
    """
    if which is None and at is None:
        raise TargetError('word(): say which, as in word("cat"), or where, as in word(at=2)')
    return Word(which, at)


def words(which: Sequence[int | str] | None = None) -> Words:
    """A map for every word, from one forward pass: those given, or at each position the most probable."""
    return Words(_given(which, "words"))


def sentence(which: Sequence[int | str] | None = None) -> Words:
    """One map for all the words: the logarithm of the sentence's probability, the sum of its words'."""
    return Words(_given(which, "sentence"), whole=True)


def word_scores(outputs: Any) -> Tensor:
    """The scores ``(batch, positions, vocabulary)`` in a network's outputs.

    Raises:
        TargetError: there are none.
    """
    scores = main_output(outputs)
    if not isinstance(scores, Tensor) or scores.ndim != 3 or not scores.is_floating_point():
        raise TargetError(
            f"the outputs are {describe(outputs)}, without word scores (batch, positions, vocabulary): words are asked "
            "of a captioner; ask a classifier for a class"
        )
    return scores


def _given(which: Sequence[int | str] | None, name: str) -> tuple[int | str, ...] | None:
    if which is None:
        return None
    if isinstance(which, str):
        which = which.split()
    given = tuple(which.tolist() if hasattr(which, "tolist") else which)  # type: ignore[attr-defined]
    if not given:
        raise TargetError(f"{name}([]): give at least one word")
    return given


def _said_at(said: Tensor, index: int, labels: Labels) -> list[int]:
    """Where each image's words have this one first.

    Raises:
        TargetError: one does not have it.
    """
    places = []
    for i, own in enumerate(said.tolist()):
        if index not in own:
            told = " ".join(label_of(each, labels) for each in own[:20])
            raise TargetError(
                f"the network does not say '{label_of(index, labels)}' of image {i}; it says: {told}. "
                "For a word that it does not say, give the position too: word(..., at=2)"
            )
        places.append(own.index(index))
    return places


def _asked(places: list[list[int]], indices: list[list[int]], scores: Tensor, labels: Labels) -> Asked:
    named = tuple(
        Named(own[0] if len(own) == 1 else None, " ".join(label_of(i, labels) for i in own[: len(where)]))
        for own, where in zip(indices, places, strict=True)
    )
    device = scores.device
    at = torch.tensor(places, device=device)
    which = torch.tensor([own[: len(where)] for own, where in zip(indices, places, strict=True)], device=device)

    def score(outputs: Any, repeats: int = 1) -> Tensor:
        logs = word_scores(outputs).log_softmax(dim=2)
        rows = torch.arange(len(logs), device=logs.device)[:, None]
        return logs[rows, at.repeat(repeats, 1), which.repeat(repeats, 1)].sum(dim=1)

    with torch.no_grad():
        probabilities = score(scores.detach()).exp().float()
    return Asked(named, score, probabilities=probabilities)
