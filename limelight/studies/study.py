"""The study of a classifier: six questions, one page that answers them, and the numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limelight import __version__, report
from limelight.errors import InputError
from limelight.files import write_whole
from limelight.models import Model, load
from limelight.models.checkpoint import CARD
from limelight.studies import adversarial, failures
from limelight.studies import gaze as gazing
from limelight.studies.bias import Finding, audit
from limelight.studies.chapters import biased, everything, fails, fooled, good, helps, looked
from limelight.studies.chapters import verdict as judging
from limelight.studies.looks import Looks, Sample, guided, look
from limelight.studies.removing import Remedy, removed
from limelight.studies.resting import resting
from limelight.studies.words import count, listed
from limelight.training import Run, read_run, train
from limelight.training.run import STATE

PAGE, NUMBERS, RUN, REMEDY = "study.html", "study.json", "run", "remedy"
SEARCHED = 600
"""Pictures that are searched for biases, at most."""
PICTURES = 200
"""Test pictures that are looked at, unless all are asked for."""
ATTACKED = 100
BEST = 4
"""Pictures of each class that are shown with their maps."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Study:
    """A study that was written.

    Attributes:
        page: the HTML page.
        facts: what is in study.json beside it.
    """

    page: Path
    facts: dict[str, Any]

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The biases that were found, strongest first."""
        return self.facts["findings"]

    def _repr_html_(self) -> str:
        return f'<a href="{self.page}">{self.facts["verdict"]["headline"]}</a>'


def study(
    source: str | Path,
    out: str | Path | None = None,
    *,
    data: str | Path | None = None,
    pictures: int = PICTURES,
    attacked: int = ATTACKED,
    full: bool = False,
    remedy: bool | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    say: Say | None = None,
    progress: bool = False,
) -> Study:
    """Say how good a classifier is, what it looks at, why it fails, whether it is fooled, and what its pictures teach.

    Args:
        source: a run that :func:`limelight.training.train` left, or a folder of class folders (or a table) to train
            on first, with the body frozen.
        out: the folder for study.html and study.json. None: the run itself; ``limelight-out/NAME`` for a folder, with
            the run in it.
        data: where the run's pictures are now, if they have moved.
        pictures: how many test pictures are looked at, drawn by ``seed``.
        attacked: how many of these are attacked.
        full: look at all test pictures, and show all mistakes.
        remedy: train once more without the bias that it goes by most, if it goes by one. None: if its body was frozen,
            which makes that quick.
        seed: of what is drawn.
        device: where to compute.
        say: is told, a line at a time, what is done.
        progress: show progress bars.

    Raises:
        LimelightError: no such run or folder, pictures that are gone, a page that can't be written.
    """
    said = say or (lambda _: None)
    if min(pictures, attacked) < 1:
        raise InputError(f"pictures={pictures}, attacked={attacked}: at least one must be looked at, and one attacked")
    run, folder = opened(Path(source).expanduser(), Path(out).expanduser() if out else None, seed, device, said)
    run = located(run, Path(data).expanduser() if data else None, said)
    tests = tested(run)
    model = load(run.folder, device=device)
    model.network.to(memory_format=torch.channels_last)  # a fifth faster, forth and back
    sample = tests if full else tests.of(drawn(tests, pictures, seed))
    said(f"looking at {count(len(sample), 'test picture')} of {len(tests):,}")
    looks = look(model, sample, progress)
    mistakes = looks if len(sample) == len(tests) else _mistakes(model, tests, progress)
    said(f"attacking {count(min(attacked, int(sample.right.sum())), 'picture')}")
    attacks = adversarial.robustness(model, looks, attacked, seed=seed, shown=progress)
    searched = learnt(run)
    searched = searched.of(drawn(searched, SEARCHED, seed))
    said(f"searching {count(len(searched), 'picture')} that it learnt from for what it should not go by")
    findings = biases(model, searched, seed, progress)
    again = remedied(run, searched, findings, folder / REMEDY, remedy, seed, device, said)
    page, facts = composed(run, model, tests, looks, mistakes, attacks, len(searched), findings, again, full)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / NUMBERS, json.dumps(facts, indent=1, allow_nan=False) + "\n")
    return Study(write_whole(folder / PAGE, report.html(page)), facts)


def opened(source: Path, out: Path | None, seed: int, device: torch.device | str, say: Say) -> tuple[Run, Path]:
    """The run to study, trained here if need be, and the folder for the page."""
    if not source.exists():
        raise InputError(f"{source} does not exist: give a run of `limelight train`, or a folder of class folders")
    if (source / CARD).is_file() or (source / STATE).is_dir():
        return read_run(source), out or source
    out = out or Path("limelight-out") / (source.stem if source.is_file() else source.resolve().name)
    run = out / RUN
    say(f"training on {source} first, with a frozen body; the run goes to {run}")
    train(source, run, frozen=True, seed=seed, resume=run.exists(), device=device, say=say)
    found = read_run(run)
    if found.dataset.source != source.resolve():
        raise InputError(f"{run} holds a run on {found.dataset.source}: give another --out, or remove it")
    return found, out


def located(run: Run, data: Path | None, say: Say) -> Run:
    """The run with its pictures where they are now, in ``data`` if that is given; those that are gone are left out.

    Raises:
        InputError: all are.
    """
    dataset = run.dataset
    root = data or dataset.root
    items, kept = [], []
    for number, item in enumerate(dataset.items):
        path, mask = (each and (root / dataset.name(replace(item, path=each))) for each in (item.path, item.mask))
        if path and path.is_file():
            items.append(replace(item, path=path, mask=mask if mask and mask.is_file() else None))
            kept.append(number)
    if not kept:
        example = dataset.name(dataset.items[0])
        raise InputError(f"the pictures of {run.folder} are not in {root} (no {example}): say where with --data FOLDER")
    if gone := len(dataset) - len(kept):
        say(f"{count(gone, 'picture')} of {len(dataset)} can't be found and {'is' if gone == 1 else 'are'} left out")
    there = replace(dataset, root=root, items=tuple(items))
    return replace(run, dataset=there, probabilities=run.probabilities[kept])


def tested(run: Run) -> Sample:
    """The test pictures, with what the network said of them.

    Raises:
        InputError: there is none.
    """
    numbers = run.dataset.of("test")
    if not numbers:
        raise InputError(f"{run.folder} has no test pictures to study: train it with a test split")
    items = [run.dataset.items[i] for i in numbers]
    return Sample(items, [run.dataset.name(item) for item in items], run.dataset.classes, run.probabilities[numbers])


def learnt(run: Run) -> Sample:
    """The pictures that it learnt from, or was chosen by."""
    numbers = run.dataset.of("train", "val")
    items = [run.dataset.items[i] for i in numbers]
    return Sample(items, [run.dataset.name(item) for item in items], run.dataset.classes, run.probabilities[numbers])


def biases(model: Model, searched: Sample, seed: int, progress: bool) -> list[Finding] | InputError:
    """What these pictures teach beside the object, and whether the network goes by it; or why that can't be said."""
    masks = [item.mask for item in searched.pictures]
    try:
        return audit(
            model,
            [item.path for item in searched.pictures],
            searched.labels.tolist(),
            searched.classes,
            masks=masks if any(masks) else None,
            seed=seed,
            most=len(searched),
            progress=progress,
        )
    except InputError as error:  # too few pictures for the audit are enough for the rest
        return error


def remedied(
    run: Run,
    searched: Sample,
    found: list[Finding] | InputError,
    out: Path,
    wanted: bool | None,
    seed: int,
    device: torch.device | str,
    say: Say,
) -> Remedy | str | None:
    """The network trained without what it goes by most; why that was not tried; or None for nothing to remove."""
    used = [] if isinstance(found, InputError) else [one for one in found if one.used.interval[0] > 0]
    if not used:
        return None
    if not (run.report.get("phase") == "frozen" if wanted is None else wanted):
        return "Training once more takes as long as the first time: --remedy does it."
    again = removed(run, list(searched.pictures), used[0], out, seed=seed, device=device, say=say)
    return again or f"The {used[0].name} can't be edited into pictures or out of them."


def drawn(sample: Sample, most: int, seed: int) -> list[int]:
    """The numbers of at most so many pictures, of each class its share, drawn by ``seed``."""
    if len(sample) <= most:
        return list(range(len(sample)))
    order = np.random.default_rng(seed).permutation(len(sample))
    # Each picture's place within its class, as a share of the class: the smallest are as many of each as is fair.
    place = np.empty(len(sample))
    for label in np.unique(sample.labels):
        own = order[sample.labels[order] == label]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    return np.sort(np.lexsort((np.argsort(order), place))[:most]).tolist()


def _mistakes(model: Model, tests: Sample, progress: bool) -> Looks | None:
    wrong = np.flatnonzero(~tests.right)
    surest = wrong[np.argsort(-tests.confidence[wrong], kind="stable")][: fails.SHOWN]
    return look(model, tests.of(sorted(surest.tolist())), progress) if len(surest) else None


def composed(
    run: Run,
    model: Model,
    tests: Sample,
    looks: Looks,
    mistakes: Looks | None,
    attacks: adversarial.Robustness | None,
    searched: int,
    found: list[Finding] | InputError,
    again: Remedy | str | None,
    full: bool,
) -> tuple[report.Page, dict[str, Any]]:
    """The page, and the numbers that are on it."""
    classes = range(len(looks.sample.classes))
    overall, gazes = gazing.gaze(looks), [gazing.gaze(looks, only) for only in classes]
    best = [gazing.best(looks, only, BEST) for only in classes]
    places = failures.places(looks)
    findings = [finding.as_dict() for finding in found] if isinstance(found, list) else None
    rests = resting(model, looks)
    fine = guided(model, looks, [number for own in best[: looked.CLASSES] for number in own])
    sections = [
        good.section(run.report, tests),
        looked.section(looks, overall, gazes, best, fine, rests),
        fails.section(looks, places, mistakes, full),
        fooled.section(looks, attacks),
        biased.section(findings, searched, str(found) if isinstance(found, InputError) else ""),
        helps.section(None, findings, again) if isinstance(again, str) else helps.section(again, findings),
    ]
    judged = judging.verdict(run.report, overall, attacks, findings)
    facts = {
        "limelight": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": str(run.folder),
        "data": str(run.dataset.source),
        "network": run.card.get("architecture", model.name),
        "classes": list(run.dataset.classes),
        "pictures": {"all": len(run.dataset), "test": len(tests), "looked_at": len(looks.sample)},
        "layer": looks.explanation.layer,
        "verdict": {"level": judged.level, "headline": judged.headline, "points": dict(judged.points)},
        "answers": {section.name: section.answer for section in sections},
        "good": {name: value for name, value in run.report.items() if name != "splits"},
        "looks": [each.as_dict() for each in (overall, *gazes)],
        "rests": rests.as_dict() if rests else None,
        "fails": [place.as_dict(looks.sample.names) for place in places],
        "fooled": attacks.as_dict() if attacks else None,
        "findings": findings or [],
        "remedy": again.as_dict() if isinstance(again, Remedy) else None,
    }
    page = report.Page(
        title=f"{listed(looks.sample.classes, 'or', 4)}?".capitalize(),
        kicker="limelight study",
        facts=[
            ("Network", f"{facts['network']}, {run.report.get('phase', 'trained')}"),
            ("Pictures", f"{len(run.dataset):,}, of which {len(tests):,} tested and {len(looks.sample):,} looked at"),
            ("From", run.dataset.source.name),
        ],
        verdict=judged,
        sections=sections,
        appendix=everything.sections(looks, facts),
        colophon=_colophon(facts),
    )
    return page, facts


def _colophon(facts: dict[str, Any]) -> Sequence[str]:
    return [
        f"Made by limelight {facts['limelight']} on {facts['made'][:10]}. Its numbers are in {NUMBERS}, beside it.",
        "Grad-CAM, Guided Grad-CAM and the counterfactual map: R. R. Selvaraju et al. 2017, arXiv 1610.02391.",
    ]
