"""Many pictures into a folder: a table in parts, overlays if asked; killed at any moment, it goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from limelight import __version__
from limelight.cut import LayerSpec
from limelight.errors import InputError, ModelError, one_line
from limelight.explanation import Explanation
from limelight.files import aside
from limelight.methods.registry import Method, get
from limelight.models import Model
from limelight.models.classes import spellings
from limelight.models.fingerprint import fingerprint
from limelight.overlays import Overlays, unique_stems
from limelight.parts import Parts
from limelight.preprocessing import Fit
from limelight.stores import path_of
from limelight.streaming.decoding import Batch, Decoder, Slot, slots
from limelight.streaming.explaining import Answering, Eager, Engine, Explain
from limelight.streaming.listing import Listing, listed
from limelight.streaming.sources import items
from limelight.streaming.table import ZERO, Row, failed, rows_of, table
from limelight.targets import Target, check

Format = Literal["png", "parquet", "both"]
SHARD = 256
"""Pictures to a part, and lost when a run is killed."""
LISTING = "pictures.jsonl"
OVERLAYS = "overlays"


class Tick(NamedTuple):
    """A batch is done.

    Attributes:
        pictures: how many it had.
        part: the number of the part that was written with it, if it was a shard's last.
        troubles: path and error of those that can't be used.
    """

    pictures: int
    part: int | None
    troubles: list[tuple[str, str]]


@dataclass(frozen=True)
class Job:
    """Pictures, what is asked of them, and where the answers go; made ready by :func:`job`, run by :meth:`run`.

    Attributes:
        listing: the pictures.
        parts: the table.
        decoder: pictures to inputs.
        explain: inputs to explanations.
        known: the classes' names.
        batch_size: how many pictures run at once.
        maps: whether the raw maps are written.
        look: how overlays are drawn; None for no overlays.
        check: whether every map gets its verdict.
    """

    listing: Listing
    parts: Parts
    decoder: Decoder
    explain: Explain
    known: Mapping[str, int]
    batch_size: int = 16
    maps: bool = True
    look: Mapping[str, Any] | None = None
    check: bool = False
    stems: dict[int, list[str]] = field(default_factory=dict, repr=False)

    @property
    def left(self) -> list[int]:
        """The shards that are not done."""
        done = self.parts.done()
        return [number for number in range(self.listing.shards) if number not in done]

    @property
    def done(self) -> int:
        """How many pictures are done."""
        return self.listing.count - sum(self.listing.size(number) for number in self.left)

    def run(self, workers: int = 0, shards: Iterable[int] | None = None) -> Iterator[Tick]:
        """Do what is left; yield as each batch is done.

        Args:
            workers: processes that read pictures; 0 to read them in this one.
            shards: these only; None for all that are left.

        Raises:
            InputError: a part can't be written, or a process was killed. The parts that are there stay.
            ModelError: the network fails on every picture of the first batch.
        """
        rows: list[Row] = []
        works = False
        plan = slots(self.listing, self.left if shards is None else shards, self.batch_size)
        pin = torch.cuda.is_available() and workers > 0
        for batch in self.decoder.batches(plan, workers, pin):
            usable = any(not picture.error for picture in batch.pictures)
            rows += self.explained(batch)
            works = works or any(not picture.error for picture in batch.pictures)
            if usable and not works:
                raise ModelError(next(picture.error for picture in batch.pictures[::-1] if picture.error))
            shard, last = batch.slot.shard, batch.slot.stop == self.listing.size(batch.slot.shard)
            if last:
                self.parts.put(shard, table(rows, self.maps))
                rows = []
            troubles = [(picture.item.path, picture.error) for picture in batch.pictures if picture.error]
            yield Tick(len(batch.pictures), shard if last else None, troubles)

    def explained(self, batch: Batch) -> list[Row]:
        """The rows of a batch, its overlays drawn. A picture that the network fails on gets an error, and no map."""
        start = batch.slot.shard * self.listing.shard + batch.slot.first
        found: list[list[Row]] = [[] for _ in batch.pictures]
        for places, explanations in self._answers(batch):
            pictures = [batch.pictures[place] for place in places]
            rows = rows_of([start + place for place in places], pictures, explanations, self.known)
            for i, (place, own) in enumerate(zip(places, rows, strict=True)):
                found[place] = own
                if self.check:
                    _judge([explanation[i] for explanation in explanations], own)
                if self.look is not None:
                    self._draw([explanation[i] for explanation in explanations], own, batch, place)
        for place, picture in enumerate(batch.pictures):
            if picture.error:
                found[place] = [failed(start + place, picture)]
        return [row for own in found for row in own]

    def _answers(self, batch: Batch) -> Iterator[tuple[list[int], list[Explanation]]]:
        """Places in a batch, and what is explained of them: a group that fails is halved until what fails is alone."""
        waiting = batch.groups[::-1]
        while waiting:
            places, images = waiting.pop()
            try:
                explanations = self.explain(images)
            except RuntimeError as error:
                if len(places) > 1:
                    half = len(places) // 2
                    waiting += [(places[half:], images[half:]), (places[:half], images[:half])]
                    continue
                (place,) = places
                picture = batch.pictures[place]
                said = one_line(error, 300) or type(error).__name__
                told = f"{picture.item.path}: the network failed on it: {said}"
                batch.pictures[place] = picture._replace(error=told)
            else:
                yield places, explanations

    def _draw(self, explanations: Sequence[Explanation], rows: list[Row], batch: Batch, place: int) -> None:
        """The overlays of one picture, in a folder for its shard: a folder of a million files serves nobody."""
        picture, slot = batch.pictures[place], batch.slot
        overlays = Overlays(self.parts.folder / OVERLAYS / f"{slot.shard:05d}", self.look or {})
        if slot.shard not in self.stems:  # its first picture
            overlays.prepare()
        stem = self._stems(slot)[slot.first + place]
        assert picture.view is not None, "it has an input"
        try:
            photo, done = picture.item.read(), 0
        except InputError:  # it went after it was explained: its rows stay, without an overlay
            return
        for explanation in explanations:
            shown = replace(explanation, photos=[photo], views=[picture.view], inputs=None)
            (record,) = shown.records()
            several = len(explanations) > 1
            overlays.write(shown, record, f"{stem}_{explanation.method}" if several else stem)
            for target in record["targets"]:
                rows[done]["overlay"] = os.path.relpath(target["overlay"], str(self.parts.folder))
                done += 1

    def _stems(self, slot: Slot) -> list[str]:
        """A file name for each picture of a shard, remembered while it is the one at work."""
        if slot.shard not in self.stems:
            self.stems.clear()
            own = self.listing.items(slot.shard, 0, self.listing.shard)
            self.stems[slot.shard] = unique_stems([Path(item.path) for item in own])
        return self.stems[slot.shard]


def _judge(explanations: Sequence[Explanation], rows: list[Row]) -> None:
    done = 0
    for explanation in explanations:
        for target in range(explanation.scores.shape[1]):
            verdict = explanation.verdict(target=target)
            rows[done] |= {"verdict": verdict.label, "support": verdict.support}
            done += 1


def job(
    model: Model,
    sources: Iterable[str | Path],
    out: str | Path,
    *,
    target: Target = None,
    methods: Sequence[str | Method] = ("gradcam",),
    layer: LayerSpec | None = None,
    fit: Fit = "crop",
    format: Format = "parquet",
    look: Mapping[str, Any] | None = None,
    check_maps: bool = False,
    batch_size: int = 16,
    shard: int = SHARD,
    engine: Engine | None = None,
) -> Job:
    """Make a job ready: everything that can be found wrong before a picture is read is found here.

    Args:
        model: a loaded network with preprocessing.
        sources: folders, lists, tars, files and patterns (see :func:`limelight.streaming.sources.items`).
        out: the folder of the results, or its URL in a store; one that holds a part of the same job is gone on with.
        target: as for :func:`limelight.explain`, one that any picture can be asked.
        methods: each gives a row for every target.
        layer: as for :func:`limelight.explain`.
        fit: how a photograph becomes the network's input.
        format: "parquet" for the table, "png" for overlays and a table without raw maps, "both".
        look: how overlays are drawn (see :func:`limelight.render.overlay`).
        check_maps: give every map its verdict.
        batch_size: how many pictures run at once.
        shard: pictures to a part.
        engine: what answers in place of the network, asked the same when it was made (see :func:`limelight.engine`).

    Raises:
        InputError: no picture, a folder that can't be written or holds another job's results.
        TargetError, MethodError: what was wrong and what to do.
        MissingExtra: pyarrow is not installed.
    """
    out, sources = path_of(out), [str(source) for source in sources]
    if model.preprocessing is None:
        raise InputError(f"{model.name} comes without preprocessing, so it can't be shown photographs")
    chosen = [get(method) for method in methods]
    check(target, 1, model.labels)
    with aside(out / LISTING) as partial:
        listing = listed(items(sources, but=out), partial, shard)
        manifest = {
            "limelight": __version__,
            "model": [model.name, model.weights, fingerprint(model)],
            "target": str(target),
            "methods": [method.label for method in chosen],
            "layer": None if layer is None else str(layer),
            "fit": fit,
            "format": format,
            "look": dict(look or {}),
            "check": check_maps,
            "sources": sources,
            "pictures": [listing.count, listing.digest],
            "shard": shard,
            "batch_size": batch_size,
            "engine": "eager" if engine is None else getattr(engine, "name", "given"),
            "precision": getattr(engine, "precision", "float32"),
        }
        parts = Parts.open(out, manifest, "job")
    return Job(
        listing=replace(listing, file=out / LISTING),
        parts=parts,
        decoder=Decoder(replace(listing, file=out / LISTING), model.preprocessing, fit),
        explain=Answering.of(engine, model.labels) if engine else Eager(model, chosen, target, layer),
        known=spellings(model.labels, model.num_classes),
        batch_size=batch_size,
        maps=format != "png",
        look=None if format == "parquet" else dict(look or {}),
        check=check_maps,
    )


def summary(parts: Parts) -> dict[str, Any]:
    """What a table holds: pictures, maps, those that can't be used, maps of zeros, and how many were right."""
    found = {"pictures": 0, "maps": 0, "errors": 0, "zero_maps": 0, "labelled": 0}
    right = 0
    for part in parts.tables(["number", "error", "flags", "right"]):
        for row in part.to_pylist():
            first, error = row["number"] == 0, row["error"] is not None
            found["pictures"] += first
            found["errors"] += error
            found["maps"] += not error
            found["zero_maps"] += ZERO in (row["flags"] or [])
            found["labelled"] += first and row["right"] is not None
            right += bool(first and row["right"])
    return {**found, "right": right / found["labelled"] if found["labelled"] else None}
