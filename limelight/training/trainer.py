"""From a folder of pictures to a classifier and its figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from limelight.errors import InputError, LimelightError, ModelError
from limelight.models import Model, load
from limelight.preprocessing import Preprocessing
from limelight.training import cells, finish, inputs, logs, loop, networks
from limelight.training.calibrate import fold_in, temperature
from limelight.training.folder import Dataset, read_dataset
from limelight.training.frozen import Solved, solve
from limelight.training.pictures import Pictures
from limelight.training.predict import scores
from limelight.training.run import REPORT, Run, read_run
from limelight.training.scan import Scan, scan
from limelight.training.settings import AUTO, Settings
from limelight.training.splits import SHARES, split
from limelight.training.state import State, claim, settings_as_facts

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Trained:
    """A finished run; ``report`` is its report.json."""

    folder: Path
    report: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Of the test pictures."""
        return self.report["accuracy"]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of :attr:`accuracy`."""
        low, high = self.report["interval"]
        return low, high

    def model(self) -> Model:
        """The network, with preprocessing and labels: ``limelight.load(folder)``."""
        return load(self.folder)

    def run(self) -> Run:
        """Its pictures and predictions."""
        return read_run(self.folder)


def train(
    source: str | Path | Dataset,
    out: str | Path,
    *,
    model: str = networks.DEFAULT,
    weights: str = "default",
    size: int | str | None = AUTO,
    fit: str = AUTO,
    frozen: bool = False,
    augment: str = "auto",
    views: int | None = None,
    epochs: int = 20,
    patience: int = 5,
    batch_size: int = 32,
    optimiser: str = "adamw",
    learning_rate: float | None = None,
    weight_decay: float = 0.05,
    warmup: float = 0.1,
    label_smoothing: float = 0.0,
    balance: bool = False,
    splits: Sequence[float] = SHARES,
    split_column: str | None = None,
    seed: int = 0,
    resume: bool = False,
    loggers: Sequence[logs.Logger] = (),
    device: torch.device | str = "cpu",
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a classifier on the pictures of ``source`` and leave it, with its figures, in the folder ``out``.

    Args:
        source: a folder of class folders or a table, see :func:`read_dataset`, or what that gave.
        out: a new folder; with ``resume`` one that an interrupted run has begun.
        model, weights, size, fit, frozen, augment, views, epochs, patience, batch_size, optimiser, learning_rate,
            weight_decay, warmup, label_smoothing, balance, seed: see :class:`Settings`.
        splits: the shares of train, val and test where none are given.
        split_column: the column of the table that holds the splits.
        resume: go on with a run that was interrupted; one that is finished is given back as it is.
        loggers: each is called with an epoch's number and its figures; log.csv and log.jsonl are written anyway.
        device: where to compute.
        say: is told, a line at a time, what was found and done.
        progress: is called with a phase's name, the steps done and all of them.

    The same pictures, settings and machine give the same weights, bit for bit, also when the run was interrupted.

    Raises:
        InputError: nothing to learn from, a folder that can't be used, settings that make no sense.
        ModelError: a network that can't be had, or can't be trained this way.
        MissingExtra: pyarrow is not there to write the predictions.
    """
    settings = Settings(
        model=model, weights=str(weights), size=size, fit=fit, frozen=frozen, augment=augment, views=views,
        epochs=epochs, patience=patience, batch_size=batch_size, optimiser=optimiser, learning_rate=learning_rate,
        weight_decay=weight_decay, warmup=warmup, label_smoothing=label_smoothing, balance=balance,
        shares=tuple(splits), seed=seed,
    )  # fmt: skip
    out = Path(out).expanduser()
    dataset = source if isinstance(source, Dataset) else read_dataset(source, split_column)
    begun = out.is_dir()
    if claim(out, resume):
        return _again(out)
    said, watched = say or (lambda _: None), progress or (lambda *_: None)
    device = torch.device(device)
    try:
        with reproducible(device):
            return _train(dataset, out, settings, device, loggers, said, watched)
    except LimelightError:  # refused: the same folder takes the run once it is put right
        if not begun:
            State(out).forget_unbegun()
        raise


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """The caller's random state and switches come back afterwards; inside, a GPU adds in one order only."""
    fickle = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        try:
            yield
        finally:
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = fickle


def _train(
    dataset: Dataset,
    out: Path,
    settings: Settings,
    device: torch.device,
    loggers: Sequence[logs.Logger],
    say: Say,
    progress: Progress,
) -> Trained:
    state = State(out)
    state.same_job(settings_as_facts(settings))
    torch.manual_seed(settings.seed)
    size = settings.size if isinstance(settings.size, int) else None
    fit = None if settings.fit == AUTO else settings.fit
    model = networks.start(settings.model, settings.weights, dataset.classes, size, device, fit)
    model.network.to(memory_format=torch.channels_last)
    found = _prepared(dataset, settings, not settings.frozen or cells.has_cells(model), say, progress)
    state.same_job({"pictures": found.fingerprint})
    dataset = found.dataset
    learnt = loop.has_learnt(model)
    if settings.frozen and not learnt:
        raise InputError(f"{model.name} has learnt nothing yet, so there is nothing to freeze: train it whole.")
    shown, facts = _shown(model, found, settings, state, say, progress)
    model = replace(model, preprocessing=shown)
    pictures = Pictures([item.path for item in dataset.items], shown)
    solved = _solved(model, pictures, found, settings, state, say, progress) if learnt else None
    facts["phase"] = "frozen" if settings.frozen else "fine-tuned" if solved else "from scratch"
    labels = torch.tensor(dataset.labels)
    val = dataset.of("val")
    if settings.frozen and solved:
        outputs = solved.scores
        logs.write(out, solved.losses)
        judged = outputs[val], labels[val]
        if solved.held_out is not None:
            both = zip((solved.held_out, labels[dataset.of("train")]), judged, strict=True)
            judged = tuple(map(torch.cat, both))
    else:
        if solved and solved.held_out is not None:
            _as_sure_as_it_should_be(model, solved.held_out, labels[dataset.of("train")])
        fit = loop.fit(model, pictures, dataset, settings, state, out, loggers, progress)
        facts |= {"epochs": len(fit.history), "best_epoch": fit.epoch}
        say(f"the best of {len(fit.history)} epochs was {fit.epoch or 'before the first'}")
        everything = list(range(len(dataset)))
        outputs = scores(model, pictures, everything, lambda done: progress("testing", done, len(everything)))
        judged = outputs[val], labels[val]
    degrees = temperature(*judged)
    facts["temperature"] = degrees if fold_in(model, degrees) else 1.0
    report = finish.write(out, model, found, outputs / facts["temperature"], settings, facts)
    state.clear()
    return Trained(out, report)


def _prepared(dataset: Dataset, settings: Settings, val: bool, say: Say, progress: Progress) -> Scan:
    """The pictures looked into and split, with a ``val`` or without, and what was found told."""
    found = scan(dataset, lambda done, total: progress("looking", done, total))
    parts = split(found.dataset, found.groups, settings.seed, settings.shares, val)
    found = replace(found, dataset=parts)
    left_out = (f"left out: {line}" for line in parts.skipped)
    for line in (*dataset.notes, *_counted(parts), *left_out, *found.told()):
        say(line)
    return found


def _counted(dataset: Dataset) -> list[str]:
    parts = [f"{name} {len(dataset.of(name))}" for name in ("train", "val", "test") if dataset.of(name)]
    classes = [f"{name} {count}" for name, count in dataset.counts().items()]
    shown = classes if len(classes) <= 10 else [f"{len(classes)} classes"]
    return [f"{len(dataset)} pictures: {', '.join(shown)}; {', '.join(parts)}"]


def _shown(
    model: Model, found: Scan, settings: Settings, state: State, say: Say, progress: Progress
) -> tuple[Preprocessing, dict[str, Any]]:
    """What it will be shown of a picture, chosen where that was left open; told, and for the report."""
    shown, facts = inputs.chosen(model, found.dataset, found.groups, settings, state, progress)
    for line in inputs.told(facts):
        say(line)
    return shown, {"input": facts}


def _solved(
    model: Model, pictures: Pictures, found: Scan, settings: Settings, state: State, say: Say, progress: Progress
) -> Solved | None:
    """The first phase; None, and told, for a network that has no plain head and is to be trained whole anyway."""
    if cells.has_cells(model):
        return cells.solve(model, pictures, found.dataset, settings, state, progress)
    try:
        return solve(model, pictures, found.dataset, found.groups, settings, state, progress)
    except ModelError as error:
        if settings.frozen:
            raise
        say(f"no frozen phase: {error}")
        return None


def _as_sure_as_it_should_be(model: Model, held_out: torch.Tensor, labels: torch.Tensor) -> None:
    """The head's scores at the temperature that fits pictures it had not seen, before the whole network is trained.

    Solved for the training pictures, it is so sure of them that they would pull at nothing any more, and what it gets
    wrong would cost it so much on validation that merely doubting would pass for learning.
    """
    fold_in(model, temperature(held_out, labels))


def _again(out: Path) -> Trained:
    """A run that has finished, given back."""
    State(out).clear()
    return Trained(out, json.loads((out / REPORT).read_text(encoding="utf-8")))
