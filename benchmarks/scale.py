"""What 100 million pictures would take on 1, 10 and 100 workers, and what would hold them up: measured in small.

    python -m benchmarks.scale --work DIR [--pictures 100000000] [--shards 3]

Measured here, one thread a worker:

- a shard of 256 photographs from the files to the part in place, by one worker (a job as ``limelight explain --ray``
  runs it), and the bytes that it reads and writes;
- what a shard costs the driver: many shards sent to two Ray actors that do nothing;
- what is done by one process before the first picture: the list made, and the parts that are there looked through.

From these: how long the workers take, how many of them the driver and the store can keep busy, and the share of the
time that is not divided among workers. That shards do not slow each other down is assumed, not measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

import limelight as ll
from benchmarks.contenders import describe, machine
from benchmarks.tables import write
from benchmarks.throughput import DATA
from benchmarks.varied import varied
from limelight.parts import PART, Parts
from limelight.streaming.cluster import run_on_ray
from limelight.streaming.job import SHARD, Job, Tick, job
from limelight.streaming.listing import listed
from limelight.streaming.sources import items

WORKERS = (1, 10, 100)
NOTHINGS, LISTED, PARTS = 2000, 100_000, 10_000
"""Shards sent to actors that do nothing, pictures listed, parts looked through."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="What many pictures would take.")
    options.add_argument("--work", type=Path, required=True)
    options.add_argument("--pictures", type=int, default=100_000_000)
    options.add_argument("--shards", type=int, default=3)
    options.add_argument("--model", default="efficientnet_lite0")
    given = options.parse_args(arguments)
    torch.set_num_threads(1)
    pictures = varied(DATA / "imagenet-1k-samples", given.work / "pictures", SHARD * given.shards)
    todo = job(ll.load(given.model), [given.work / "pictures"], given.work / f"results-{time.time_ns()}")
    found = {
        **shards(todo),
        "read": median(sum(file.stat().st_size for file in each) for each in _grouped(pictures)),
        "driver": driver(todo),
        "list": listing(pictures, given.work / "list.txt"),
        "look": looking(given.work / "parts"),
    }
    write(given.work / "scale.json", {"machine": machine(), "measured": found})
    print(f"{page(found, given.pictures)}\n\n{describe(machine())}")


def shards(todo: Job) -> dict[str, float]:
    """Seconds of a shard by one worker, the median, and the bytes of its part. The network's first run is left out."""
    todo.explain(torch.randn(todo.batch_size, 3, *todo.decoder.preprocessing.size))
    seconds = [_seconds(lambda number=number: list(todo.run(shards=[number]))) for number in todo.left]
    sizes = [(todo.parts.folder / PART.format(number)).stat().st_size for number in todo.parts.done()]
    return {"shard": median(seconds), "written": median(sizes)}


@dataclass(frozen=True)
class Nothing(Job):
    """A job whose shards are done at once."""

    @property
    def left(self) -> list[int]:
        return list(range(NOTHINGS))

    def run(self, workers: int = 0, shards: Iterable[int] | None = None) -> Iterator[Tick]:
        yield from (Tick(SHARD, number, []) for number in shards or ())


def driver(todo: Job) -> float:
    """Seconds a shard costs whoever hands them out, once the actors run."""
    done = run_on_ray(Nothing(**vars(todo)), "local", 2)
    for _ in range(NOTHINGS // 4):
        next(done)
    return _seconds(lambda: list(done)) / (NOTHINGS * 3 // 4)


def listing(pictures: Sequence[Path], file: Path) -> float:
    """Seconds a picture of a list takes before the first is read."""
    lines = (f"{pictures[number % len(pictures)].resolve()}\n" for number in range(LISTED))
    file.write_text("".join(lines))
    return _seconds(lambda: listed(items([str(file)]), file.with_suffix(".jsonl"), SHARD)) / LISTED


def looking(folder: Path) -> float:
    """Seconds a part takes to be seen to be there, when a run is gone on with."""
    folder.mkdir(exist_ok=True)
    for number in range(PARTS):
        (folder / PART.format(number)).touch()
    return _seconds(lambda: Parts(folder, {}).done()) / PARTS


def page(found: dict[str, float], pictures: int) -> str:
    """What follows from it, as Markdown."""
    count = pictures / SHARD
    alone = found["list"] * pictures + found["look"] * count
    busy = found["shard"] / found["driver"]
    rate = (found["read"] + found["written"]) / found["shard"] / 1e6
    lines = [
        f"- a shard of {SHARD}, one worker: {found['shard']:.1f} s ({SHARD / found['shard']:.1f} pictures a second), "
        f"{found['read'] / 1e6:.1f} MB read, {found['written'] / 1e6:.2f} MB written",
        f"- a shard, for the driver: {found['driver'] * 1000:.2f} ms, so that {busy:,.0f} workers keep it busy",
        f"- by one process before: {pictures:,} listed in {found['list'] * pictures / 60:.0f} minutes, "
        f"{count:,.0f} parts looked through in {found['look'] * count:.1f} s",
        f"- the table: {found['written'] * count / 1e9:,.0f} GB in {count:,.0f} files",
        "",
        "| workers | all of them take | of it not divided | the store gives and takes | the driver is busy |",
        "|--:|--:|--:|--:|--:|",
    ]
    for workers in WORKERS:
        work = found["shard"] * count / workers
        lines.append(
            f"| {workers} | {(alone + work) / 86400:,.1f} days | {alone / (alone + work):.1%} "
            f"| {rate * workers:,.1f} MB/s | {workers / busy:.2%} |"
        )
    return "\n".join(lines)


def _grouped(pictures: Sequence[Path]) -> list[Sequence[Path]]:
    return [pictures[first : first + SHARD] for first in range(0, len(pictures), SHARD)]


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
