"""``limelight explain --format``: folders, lists and tars of any length into a table, gone on with when killed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from limelight import printing
from limelight.commands.engines import engine_for
from limelight.commands.options import layer_of, load_model, target_of
from limelight.errors import LimelightError
from limelight.progress import paced, watched

if TYPE_CHECKING:
    import torch

    from limelight.streaming.job import Format, Job, Tick

TOLD = 20
"""Pictures that can't be used and are named one by one; the table names all."""


def explain_many(
    sources: Sequence[str],
    out: Path,
    format: Format,
    look: dict[str, Any],
    as_json: bool,
    *,
    model: str,
    weights: str,
    device: str,
    targets: Sequence[str],
    top: int | None,
    layers: Sequence[str],
    method: str,
    batch_size: int,
    check: bool,
    fit: Any,
    engine: str,
    precision: str,
    shard: int,
    workers: int | None,
    ray: str | None,
) -> None:
    """Do the job, and exit as ``limelight explain`` does."""
    from limelight.colormaps import colormap
    from limelight.parts import begun_with
    from limelight.streaming.job import job

    if name := look.get("colormap"):
        colormap(name)
    if engine == "auto":  # another trial could choose another: a table is made by one
        engine = begun_with(out) or engine
    loaded = load_model(model, weights, device)
    target, methods, layer = target_of(targets, top, loaded.labels), method.split(","), layer_of(layers)
    ready = job(
        loaded,
        sources,
        out,
        target=target,
        methods=methods,
        layer=layer,
        fit=fit,
        format=format,
        look=look,
        check_maps=check,
        batch_size=batch_size,
        shard=shard,
        engine=engine_for(engine, precision, loaded, methods, target, layer, batch_size),
    )
    like = next(loaded.network.parameters(), None)
    processes = _workers(None if like is None else like.device) if workers is None else workers
    _run(ready, _on_ray(ready, ray, workers) if ray else ready.run(processes), out, as_json)
    _finish(ready, out, as_json)


def _workers(device: torch.device | None) -> int:
    """Processes that read: all but one where a GPU explains, few where the same processors do."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(processors // 4, 1) if device is None or device.type == "cpu" else max(processors - 1, 1)


def _on_ray(ready: Job, address: str, workers: int | None) -> Iterator[Tick]:
    from limelight.streaming.cluster import run_on_ray

    return run_on_ray(ready, address, workers)


def _run(ready: Job, ticks: Iterator[Tick], out: Path, as_json: bool) -> None:
    """Run to the end, telling how far it is; ends the program when something stops it after a part was written."""
    total, before, start, fresh, told = ready.listing.count, ready.done, time.monotonic(), 0, 0
    shown = watched() and not as_json
    if before and not as_json and before < total:
        printing.note(f"going on: {before:,} of {total:,} pictures are done")
    _event(as_json, "begin", pictures=total, done=before, shard=ready.listing.shard, shards=ready.listing.shards)
    try:
        with paced("explaining", "pictures", total, before, shown) as tell:
            for tick in ticks:
                fresh += tick.pictures
                tell(tick.pictures)
                for path, error in tick.troubles:
                    _event(as_json, "error", path=path, error=error)
                    told += 1
                    if not as_json and told <= TOLD:
                        printing.note(f"error: {error}" if told < TOLD else "error: more of them; the table names all")
                if tick.part is not None:
                    seconds = time.monotonic() - start
                    rate = fresh / seconds
                    left = (total - before - fresh) / rate
                    facts = {"part": tick.part, "done": before + fresh, "pictures": total}
                    _event(as_json, "part", **facts, seconds=seconds, rate=rate, left=left)
    except LimelightError as error:
        done = ready.done
        if not done:
            raise
        _event(as_json, "stopped", done=done, pictures=total, error=str(error))
        printing.note(f"error: {error}")
        printing.note(f"{done:,} of {total:,} pictures are done and kept in {out}: the same command goes on")
        sys.exit(1)


def _finish(ready: Job, out: Path, as_json: bool) -> None:
    """Say what the table holds, what is in it of earlier runs included."""
    from limelight.streaming.job import summary

    found = summary(ready.parts)
    _event(as_json, "end", **found, out=str(out))
    if not as_json:
        click.echo(
            f"{found['pictures']:,} pictures, {found['maps']:,} maps"
            + (f", {found['errors']:,} could not be used: the table says why" if found["errors"] else "")
            + (f", {found['zero_maps']:,} maps of zeros" if found["zero_maps"] else "")
            + (f"; right: {found['right']:.1%} of {found['labelled']:,}" if found["labelled"] else "")
        )
        click.echo(f"\nthe table is in {out}/: limelight gallery {out} makes a page of it")
    if found["errors"]:
        sys.exit(2 if found["errors"] == found["pictures"] else 1)


def _event(as_json: bool, kind: str, **facts: Any) -> None:
    """One line of JSON, said at once."""
    if as_json:
        click.echo(json.dumps({"event": kind, **facts}))
        sys.stdout.flush()
