"""What a protocol is made of: pictures as the network sees them, rows of what was measured, figures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from limelight.errors import MethodError, ZeroMapWarning
from limelight.explainer import explain
from limelight.explanation import Explanation
from limelight.images import Photo, read
from limelight.methods import get
from limelight.models import Model
from limelight.paper.shown import Shown
from limelight.preprocessing import Fit, View
from limelight.ranking.measuring import Row, prepared
from limelight.statistics import Interval, bootstrap
from limelight.targets import Target

GRADCAM = "gradcam"
RELU_LAYERS = {"vgg16": "features.29", "alexnet": "features.11", "googlenet": "inception5b"}
"""Where the paper cuts its networks, by torchvision's names: the last convolution's rectified output."""


@dataclass(frozen=True)
class Bench:
    """What stays the same for all pictures.

    Attributes:
        model: the network.
        pictures: all of them.
        methods: names from ``limelight methods``.
        layer: where class activation maps are made; None for the method's own, or the paper's in the paper's networks.
        fit: how a photograph becomes the network's input.
        judge: another network, for what takes a second opinion.
        seed: of whatever is drawn.
    """

    model: Model
    pictures: Sequence[Shown]
    methods: Sequence[str] = (GRADCAM,)
    layer: str | None = None
    fit: Fit = "whole"
    judge: Model | None = None
    seed: int = 0

    def see(self, number: int) -> Seen:
        """One picture, read and prepared.

        Raises:
            InputError: it can't be read.
        """
        shown = self.pictures[number]
        photo = read(shown.path)
        image, (view,) = prepared(self.model, [photo], self.fit)
        return Seen(number, shown, photo, image, view)

    def place(self, method: str) -> str | None:
        """The layer of a method: methods that look at the input itself are left there."""
        if get(method).layer is not None:
            return None
        return self.layer or next(
            (layer for name, layer in RELU_LAYERS.items() if is_network(self.model.name, name)), None
        )

    def maps(self, method: str, image: Tensor, target: Target) -> Explanation:
        """Maps of one method; a map of zeros is a result like any other here."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZeroMapWarning)
            return explain(self.model, image, target, method, self.place(method), progress=False)


def is_network(name: str, network: str) -> bool:
    """Whether a network is one of torchvision's architecture ``network``, whatever its weights."""
    return name.rpartition("/")[2].partition(".")[0] == network


def checked(methods: Sequence[str], allowed: Callable[[str], bool] = lambda _: True) -> list[str]:
    """The methods' labels.

    Raises:
        MethodError: there is no such method, or it is not for this protocol.
    """
    names = [get(method).label for method in methods]
    for name in names:
        if not allowed(name):
            raise MethodError(f"method '{name}' is not for this protocol")
    return names


@dataclass(frozen=True)
class Seen:
    """A picture as the network sees it: a batch of one, and where it lies on the photograph."""

    number: int
    shown: Shown
    photo: Photo
    image: Tensor = field(repr=False)
    view: View

    def row(self, metric: str, value: float, method: str = "", target: int | None = None, chance: bool = False) -> Row:
        """One measured value."""
        return {
            "picture": self.number,
            "path": str(self.shown.path),
            "target": target,
            "method": method,
            "chance": chance,
            "metric": metric,
            "value": None if value != value else float(value),
            "error": None,
        }


@dataclass(frozen=True)
class Figure:
    """One figure that came out, and what the paper has in its place.

    Attributes:
        what: what it is.
        method: of which method or network; empty where there is only one.
        found: the mean over pictures; None where there was nothing to measure.
        interval: 95 %, by bootstrap over pictures; None of fewer than two.
        cases: how many pictures it rests on.
        published: the paper's figure, on the same scale; None where it has none.
        percent: whether it is read in per cent.
        control: it knows nothing of the network, or is what the others are to be compared with.
    """

    what: str
    method: str
    found: float | None
    interval: Interval | None
    cases: int
    published: float | None = None
    percent: bool = True
    control: bool = False

    @property
    def of(self) -> str:
        """The method, and whether it is a control."""
        return f"{self.method} (control)" if self.control and self.method else self.method

    def said(self, value: float | None) -> str:
        """A value as the table has it."""
        if value is None:
            return ""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.3f}"


def figure(what: str, method: str, values: Sequence[float], published: float | None = None, **facts: Any) -> Figure:
    """A figure of one value a picture."""
    interval = bootstrap(values) if len(values) > 1 else None
    mean = sum(values) / len(values) if values else None
    return Figure(what, method, mean, interval, len(values), published, **facts)


def per_picture(rows: Sequence[Row], metric: str, method: str = "") -> list[float]:
    """The mean of a metric's values for each picture that has any."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if row["metric"] == metric and (row["method"] or "") == method and row["value"] is not None:
            values.setdefault(row["picture"], []).append(row["value"])
    return [sum(each) / len(each) for each in values.values()]


@dataclass(frozen=True)
class Outcome:
    """What came of a protocol.

    Attributes:
        answer: one sentence.
        figures: beside what was published.
        notes: what else should be known of how they came about.
    """

    answer: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Protocol:
    """An experiment of the paper's.

    Attributes:
        name: how the command line calls it.
        question: what it asks.
        section: where the paper has it.
        quoted: how far the published figures were checked.
        methods: the methods that are measured unless others are chosen.
        fits: whether a picture can be used.
        needs: what a picture must have for that, in words.
        measure: one picture to rows.
        outcome: all rows to what came of them.
        differences: what is not as in the paper, always.
        judged: whether it takes a second network.
    """

    name: str
    question: str
    section: str
    quoted: str
    methods: tuple[str, ...]
    fits: Callable[[Shown], bool]
    needs: str
    measure: Callable[[Bench, Seen], Iterator[Row]]
    outcome: Callable[[Sequence[Row], Bench], Outcome]
    differences: tuple[str, ...]
    judged: bool = False


def most_probable(classes: Iterable[int], scores: Tensor) -> int:
    """The one of these classes that the scores ``(classes,)`` hold most probable."""
    return max(classes, key=lambda index: float(scores[index]))


def probabilities(model: Model, images: Tensor) -> Tensor:
    """``(batch, classes)`` what a network says.

    Raises:
        MethodError: it gives no class scores.
    """
    from limelight.borrow import borrowed, unwrap
    from limelight.targets import logits_of, probabilities_of

    with borrowed(unwrap(model.network)), torch.no_grad():
        logits = logits_of(model.network(images.clone()))  # some networks change theirs in place
    if logits is None:
        raise MethodError("this network gives no class scores")
    return probabilities_of(logits)
