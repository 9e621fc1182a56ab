"""A film in, the same film with its maps out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from limelight.cut import AUTO, LayerSpec
from limelight.errors import InputError
from limelight.explanation import Explanation
from limelight.images import read
from limelight.methods.registry import Method, get
from limelight.models import Model
from limelight.preprocessing import Fit, Preprocessing, View
from limelight.streaming.explaining import Answering, Eager, Engine, Explain
from limelight.streaming.table import spread
from limelight.targets import Each, Named, Target, Top, check
from limelight.video.drawing import captioned
from limelight.video.film import Film, Frame, Source, Writer, opened, written
from limelight.video.live import is_live, watching
from limelight.video.smoothing import Answer, Cuts, Shot, smoothed

SMOOTH = 0.25
"""Seconds before and after a frame that its map is a mean over."""


@dataclass(frozen=True)
class Told:
    """What there is to say of a frame, and what is drawn on it.

    Attributes:
        frame: its number; of a camera or stream those that were dropped are missing.
        seconds: when it is shown.
        shot: which shot it belongs to.
        label, probability, score: what is drawn.
        said, said_probability: what the network said of this frame alone; None where it was not asked.
        peak: x, y of the drawn map's strongest evidence; None for a map of zeros.
        spread: the share of its cells that holds half of its evidence.
    """

    frame: int
    seconds: float
    shot: int
    label: str
    probability: float | None
    score: float
    said: str | None
    said_probability: float | None
    peak: tuple[float, float] | None
    spread: float | None


def explain_film(
    model: Model,
    source: str | Path,
    out: str | Path,
    target: Target = None,
    method: str | Method = "gradcam",
    layer: LayerSpec | None = None,
    *,
    every: int = 1,
    smooth: float = SMOOTH,
    fit: Fit = "whole",
    batch_size: int = 8,
    look: Mapping[str, Any] | None = None,
    engine: Engine | None = None,
    tell: Callable[[int], None] = lambda done: None,
    seconds: float | None = None,
) -> list[Told]:
    """Write a film with the maps of another laid over it, the class and its probability below, and its own sound.

    Args:
        model: a loaded network with preprocessing.
        source: the film, a camera (``camera:0``) or a stream (``rtsp://...``), which is watched as it happens: frames
            that the network has no time for are dropped, none is late, and there is no sound.
        out: where it goes; the ending says what kind of film it is.
        target: one question for every frame; None for the class that is predicted around each.
        method, layer: as for :func:`limelight.explain`.
        every: the network is asked of every so many frames, and of the first of each shot; the others' maps lie between
            those of their neighbours.
        smooth: seconds before and after a frame that its map is a mean over (see
            :func:`limelight.video.smoothing.smoothed`); 0 for none.
        fit: how a frame becomes the network's input.
        batch_size: how many frames run at once; of a camera or stream each runs by itself.
        look: how maps are drawn (see :func:`limelight.render.overlay`).
        engine: what answers in place of the network, asked the same when it was made.
        tell: told how many frames are written.
        seconds: how long a camera or stream is watched; None until it ends, or Ctrl-C.

    Raises:
        InputError: the source is no film, or the film can't be written.
        MissingExtra: PyAV is not installed.
    """
    out = Path(out)
    if isinstance(target, Top | Each):
        raise InputError("a film shows one map: give one class, or none for the predicted one")
    if model.preprocessing is None:
        raise InputError(f"{model.name} comes without preprocessing, so it can't be shown pictures")
    if layer == AUTO:
        raise InputError("a film shows the maps of one layer: name it; `limelight layers` says what each is worth")
    check(target, 1, model.labels)
    explain = Answering.of(engine, model.labels) if engine else Eager(model, [get(method)], target, layer)
    told: list[Told] = []
    with _source(source, seconds) as film:
        if out.exists() and Path(source).exists() and out.samefile(source):
            raise InputError(f"{out} is the film itself: give another name")
        radius = max(smooth, every / float(film.rate), 1e-6)
        with written(out, film) as writer:
            at_once = batch_size if isinstance(film, Film) else 1
            asked = _asked(_shots(film, writer, every), model, explain, fit, at_once)
            for shot, answer in smoothed(asked, radius):
                picture, facts = _told(shot, answer, model, fit, look or {})
                writer.put(np.asarray(picture), shot.frame.pts)
                told.append(facts)
                tell(len(told))
    return told


def _source(source: str | Path, seconds: float | None) -> AbstractContextManager[Source]:
    if is_live(str(source)):
        return watching(str(source), seconds)
    if seconds is not None:
        raise InputError(f"{source} is a film, which is shown whole: seconds are for a camera or a stream")
    return opened(source)


def _shots(film: Source, writer: Writer, every: int) -> Iterator[tuple[Shot, bool]]:
    """Each frame, and whether the network is to be asked of it; sound is handed on as it comes."""
    cuts, shot, count = Cuts(), -1, 0
    for part in film.read():
        if not isinstance(part, Frame):
            writer.sound(part)
            continue
        cut = cuts.begins(part.pixels)
        shot += cut
        yield Shot(part, shot), cut or count % every == 0
        count += 1


def _asked(
    shots: Iterator[tuple[Shot, bool]], model: Model, explain: Explain, fit: Fit, batch_size: int
) -> Iterator[Shot]:
    """The same frames with the answers of those that were asked of, a batch at a time."""
    held: list[Shot] = []
    batch: list[Shot] = []
    for shot, ask in shots:
        held.append(shot)
        batch += [shot] * ask
        if len(batch) == batch_size:
            _ask(batch, model, explain, fit)
            yield from held
            held, batch = [], []
    if batch:
        _ask(batch, model, explain, fit)
    yield from held


def _ask(batch: list[Shot], model: Model, explain: Explain, fit: Fit) -> None:
    assert model.preprocessing is not None, "looked at before"
    inputs = [model.preprocessing(read(shot.frame.pixels).pixels, fit)[0] for shot in batch]
    (explanation,) = explain(torch.stack(inputs))
    for i, shot in enumerate(batch):
        shot.answer = _answer(explanation, i)


def _answer(explanation: Explanation, i: int) -> Answer:
    named, probability = explanation.targets[i][0], float(explanation.probabilities[i, 0])
    return Answer(
        index=named.index,
        label=named.label or "",
        probability=None if math.isnan(probability) else probability,
        score=float(explanation.scores[i, 0]),
        raw=explanation.raw[i, 0].detach().float().cpu(),
    )


def _told(shot: Shot, answer: Answer, model: Model, fit: Fit, look: Mapping[str, Any]) -> tuple[Image.Image, Told]:
    """The frame as it is drawn, and what there is to say of it."""
    frame, said = shot.frame, shot.answer
    height, width = frame.pixels.shape[:2]
    assert model.preprocessing is not None, "looked at before"
    view = _view(model.preprocessing, fit, width, height)
    shown = Explanation(
        raws=(answer.raw[None, None],),
        layers=("",),
        method="",
        targets=[[Named(answer.index, answer.label)]],
        scores=torch.tensor([[answer.score]]),
        probabilities=torch.tensor([[math.nan if answer.probability is None else answer.probability]]),
        predictions=[[]],
        input_size=view.input_size,
        photos=[read(frame.pixels)],
        views=[view],
    )
    x, y = shown.peaks[0, 0].tolist()
    facts = Told(
        frame=frame.number,
        seconds=frame.seconds,
        shot=shot.shot,
        label=answer.label,
        probability=answer.probability,
        score=answer.score,
        said=said and said.label,
        said_probability=said and said.probability,
        peak=None if math.isnan(x) else (x, y),
        spread=None if math.isnan(x) else float(spread(answer.raw[None, None])),
    )
    return captioned(shown.overlay(**look), answer.label, answer.probability, answer.score), facts


@cache
def _view(preprocessing: Preprocessing, fit: Fit, width: int, height: int) -> View:
    """Where the network's input lies on a frame of this size."""
    return preprocessing(torch.zeros(3, height, width, dtype=torch.uint8), fit)[1]
