"""Methods measured on a data set, a shard at a time, and what comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from limelight import __version__
from limelight.engines import Engine
from limelight.errors import InputError
from limelight.evaluation import Metric
from limelight.evaluation import get as get_metric
from limelight.images import read
from limelight.methods import get as get_method
from limelight.models import Model
from limelight.models.fingerprint import fingerprint
from limelight.preprocessing import Fit
from limelight.ranking.measuring import Bench, Contender, Row, prepared
from limelight.ranking.pictures import Picture, listed, located, names_of
from limelight.ranking.regions import read as read_regions
from limelight.ranking.store import Store

SHARD = 8
"""Pictures measured at once, and lost when a run is killed."""
METHODS = ("gradcam", "hirescam", "layercam", "gradcampp", "xgradcam", "eigencam")
FAITHFUL = ("deletion", "insertion", "average_drop", "sparseness")
LOCATED = ("pointing", "energy_pointing", "box_iou")
STEPS = 20
"""Steps of curves for which a metric's default is more: ranks of methods hardly change with more."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation in a folder: made ready by :func:`evaluate`, run by :meth:`run`.

    Attributes:
        bench: network, methods and metrics.
        pictures: what is measured, in order.
        store: the finished parts.
        shard: pictures to a part.
    """

    bench: Bench
    pictures: list[Picture]
    store: Store
    shard: int

    def __len__(self) -> int:
        return -(-len(self.pictures) // self.shard)

    def run(self) -> Iterator[int]:
        """Measure what is not measured yet; yield each part's number as it is there."""
        done = self.store.done()
        for number in range(len(self)):
            if number not in done:
                first = number * self.shard
                self.store.write(number, self.bench.measure(self.pictures[first : first + self.shard], first))
            yield number

    def rows(self) -> list[Row]:
        """One row for each picture, method and metric; and those with an ``error`` instead."""
        return self.store.rows()


def evaluate(
    model: Model,
    data: str | Path,
    out: str | Path,
    *,
    methods: Sequence[str] = METHODS,
    metrics: Sequence[str] | None = None,
    layers: Sequence[str] = (),
    regions: str | Path | None = None,
    true: bool = False,
    fit: Fit = "whole",
    shard: int = SHARD,
    engine: Engine | None = None,
) -> Evaluation:
    """An evaluation, made ready: everything that can be found wrong is found here.

    Args:
        model: a loaded network with preprocessing.
        data: a folder or a CSV (see :func:`limelight.ranking.pictures.listed`).
        out: the folder of the results; one that holds a part of the same evaluation is gone on with.
        methods: names from ``limelight methods``.
        metrics: names of metrics; None for a few cheap ones, with those of location where regions are given.
        layers: each method at each of these; none for each method's own.
        regions: boxes or masks, in any of the forms of :func:`limelight.ranking.regions.read`.
        true: ask about the true class, not the predicted one.
        fit: how a photograph becomes the network's input; "whole" loses nothing of it.
        shard: pictures to a part.
        engine: what runs the altered pictures that metrics ask about (see :meth:`limelight.evaluation.Scene.of`).

    Raises:
        InputError, MethodError, MetricError: what was wrong and what to do.
    """
    chosen = chosen_metrics(metrics, regions is not None)
    contenders = [Contender(get_method(name), layer) for name in methods for layer in layers or (None,)]
    known = names_of(model)
    pictures = listed(data, known, true)
    if regions is not None:
        pictures = located(pictures, read_regions(regions), _targets(model, pictures, fit), known)
    manifest = {
        "limelight": __version__,
        "model": [model.name, model.weights, fingerprint(model)],
        "methods": [contender.label for contender in contenders],
        "metrics": [metric.label for metric in chosen],
        "target": "true" if true else "predicted",
        "fit": fit,
        "shard": shard,
        "engine": "eager" if engine is None else engine.name,
        "precision": "float32" if engine is None else engine.precision,
        "annotations": None if regions is None else _digest(repr([picture.regions for picture in pictures])),
        "pictures": [[str(picture.path), picture.path.stat().st_size] for picture in pictures],
    }
    return Evaluation(Bench(model, contenders, chosen, fit, engine), pictures, Store.open(out, manifest), shard)


def chosen_metrics(names: Sequence[str] | None, placed: bool) -> list[Metric]:
    """The metrics of these names, curves with fewer steps.

    Raises:
        InputError: one needs to know where objects are, and that was not given.
    """
    metrics = [get_metric(name) for name in names or (*FAITHFUL, *(LOCATED if placed else ()))]
    for metric in metrics:
        if metric.question == "located" and not placed:
            raise InputError(f"metric '{metric.name}' needs to know where the object is: give --boxes or --masks")
    return [metric(steps=STEPS) if metric.options.get("steps", 0) > STEPS else metric for metric in metrics]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _targets(model: Model, pictures: Sequence[Picture], fit: Fit) -> list[int | None]:
    """What each picture is asked about: its true class, or the predicted one; None for one that can't be read."""
    return [picture.target if picture.target is not None else _predicted(model, picture, fit) for picture in pictures]


def _predicted(model: Model, picture: Picture, fit: Fit) -> int | None:
    from limelight.borrow import borrowed
    from limelight.targets import logits_of

    try:
        photo = read(picture.path)
    except InputError:
        return None  # told when it is measured
    images, _ = prepared(model, [photo], fit)
    with borrowed(model.network), torch.no_grad():
        logits = logits_of(model.network(images))
    if logits is None:
        raise InputError("this network gives no class scores, so it can't be said which class is annotated")
    return int(logits.argmax(dim=1))
