"""Pictures a second from files to a table, beside what bounds it and what a straightforward loop does.

    python -m benchmarks.throughput [--pictures 2000] [--engine onnx] [--rounds 8] [--work DIR]
    python -m benchmarks.throughput --memory [--pictures 20000]
    python -m benchmarks.throughput --list 1000000

In turns, a few shards at a time, so that whatever else the machine does weighs on all alike:

- reading: the files to inputs, by as many processes as the pipeline has, and nothing else;
- engine: the same number of batches through the engine, and nothing else;
- pipeline: both, and the table written: a job as `limelight explain --format parquet` runs it;
- loop: a picture after another through grad-cam (jacobgil), as its documentation does it; on fewer pictures.

What is told is the processor's time a picture (that of the reading processes included), which other work on the machine
does not change much, and the clock's, which it does. ``--memory`` runs one job to its end and writes what all its
processes hold, over time, as JSON and a plot; a run that is killed is gone on with. ``--list`` is what a list of a
million pictures costs in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

import limelight as ll
from benchmarks.contenders import describe, machine
from benchmarks.tables import Spread, write
from benchmarks.varied import varied
from limelight.streaming.decoding import slots
from limelight.streaming.job import Job, job

DATA = Path(os.environ.get("LIMELIGHT_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))
SHARD = 64
LOOP = 16
"""Pictures of a round that the loop explains: it is slow."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description="Pictures a second.")
    options.add_argument(
        "--source", type=Path, default=DATA / "imagenet-1k-samples", help="The photographs that are varied."
    )
    options.add_argument("--work", type=Path, default=Path("out/bench/throughput"), help="Pictures and results.")
    options.add_argument("--pictures", type=int, default=2000)
    options.add_argument("--model", default="efficientnet_lite0")
    options.add_argument("--engine", default="onnx", help="eager, compile, onnx, openvino; the pipeline's own: none.")
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--rounds", type=int, default=8)
    options.add_argument("--memory", action="store_true")
    options.add_argument("--list", type=int, metavar="COUNT", help="Only list so many pictures.")
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    warnings.filterwarnings("ignore", category=ll.errors.ZeroMapWarning)
    given.work.mkdir(parents=True, exist_ok=True)
    name = "list" if given.list else "memory" if given.memory else "throughput"
    to = given.json or given.work / f"{name}-{given.engine}.json"
    if given.list:
        paths = varied(given.source, given.work / "pictures", 64)
        found = listing(given, paths)
    else:
        print(f"making {given.pictures} pictures", flush=True)
        varied(given.source, given.work / "pictures", given.pictures)
        found = over_time(given, to.with_suffix(".png")) if given.memory else turns(given)
    write(to, {"machine": machine(), "settings": {k: str(v) for k, v in vars(given).items()}, **found})
    print(describe(machine()) + f"\n\nwritten to {to}")


@cache
def _engine(name: str, engine: str) -> tuple[ll.Model, ll.Engine | None]:
    model = ll.load(name)
    return model, None if engine == "none" else ll.engine(engine, model)


def ready(given: argparse.Namespace, out: Path, sources: Sequence[str | Path], shard: int = SHARD) -> Job:
    """The job, on the engine that was asked for."""
    model, engine = _engine(given.model, given.engine)
    return job(model, sources, out, shard=shard, batch_size=given.batch, engine=engine)


# ---- in turns


def turns(given: argparse.Namespace) -> dict[str, Any]:
    """Each part's time a picture, in rounds over the same few shards."""
    done = given.work / f"results-{given.engine}"
    todo = ready(given, done, [given.work / "pictures"])
    inputs = torch.randn(given.batch, *_input(todo))
    each = max(todo.listing.shards // given.rounds, 1)
    loop = _loop(given.model)
    parts: dict[str, list[tuple[float, float]]] = {name: [] for name in ("reading", "engine", "pipeline", "loop")}
    todo.explain(inputs), loop(str(next(given.work.glob("pictures/*/*.jpg"))))  # what is done once is no part of it
    for number in range(given.rounds):
        shards = list(range(number * each, min((number + 1) * each, todo.listing.shards)))
        count = sum(todo.listing.size(shard) for shard in shards)

        def read(shards: list[int] = shards) -> None:
            for _ in todo.decoder.batches(slots(todo.listing, shards, given.batch), given.workers):
                pass

        def compute(count: int = count) -> None:
            for _ in range(count // given.batch):
                todo.explain(inputs)

        def whole(shards: list[int] = shards) -> None:
            for _ in todo.run(given.workers, shards):
                pass

        def alone(shards: list[int] = shards) -> None:
            for item in todo.listing.items(shards[0], 0, LOOP):
                loop(item.path)

        works = {"reading": (read, count), "engine": (compute, count // given.batch * given.batch)}
        works |= {"pipeline": (whole, count), "loop": (alone, min(LOOP, todo.listing.size(shards[0])))}
        for name in list(works)[number % 4 :] + list(works)[: number % 4]:
            work, pictures = works[name]
            parts[name].append(tuple(value / pictures for value in timed(work)))  # pyright: ignore[reportArgumentType]
        print(
            f"round {number + 1}: " + ", ".join(f"{k} {v[-1][0] * 1000:.1f} ms" for k, v in parts.items()), flush=True
        )
    return _told(parts)


def _told(parts: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    by_clock = {"processor": 0, "clock": 1}
    found: dict[str, Any] = {}
    for clock, place in by_clock.items():
        seconds = {name: [one[place] for one in own] for name, own in parts.items()}
        rows = list(zip(*seconds.values(), strict=True))
        found[clock] = {
            "milliseconds": {name: Spread.of([1000 * value for value in own]) for name, own in seconds.items()},
            "loop / pipeline": Spread.of([loop / whole for _, _, whole, loop in rows]),
            "pipeline / (reading + engine)": Spread.of([whole / (read + run) for read, run, whole, _ in rows]),
            "pipeline / the slower of both": Spread.of([whole / max(read, run) for read, run, whole, _ in rows]),
        }
        print(f"\n{clock} time a picture: " + ", ".join(f"{k} {v} ms" for k, v in found[clock]["milliseconds"].items()))
        print("; ".join(f"{name}: {spread}" for name, spread in found[clock].items() if name != "milliseconds"))
        print(f"pictures a second, {clock}: " + ", ".join(f"{k} {1 / median(v):.1f}" for k, v in seconds.items()))
    return found


def _input(todo: Job) -> tuple[int, int, int]:
    own = todo.decoder.preprocessing
    return own.channels, *own.size


def _loop(name: str) -> Callable[[str], Any]:
    """What grad-cam's own documentation does with a file."""
    from PIL import Image
    from pytorch_grad_cam import GradCAM
    from torchvision import transforms

    model = ll.load(name)
    own = model.preprocessing
    assert own is not None
    prepare = transforms.Compose(
        [
            transforms.Resize(int(own.size[0] / own.crop), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(own.size),
            transforms.ToTensor(),
            transforms.Normalize(own.mean, own.std),
        ]
    )
    layer = str(ll.explain(model, torch.randn(1, own.channels, *own.size)).layer)
    cam = GradCAM(model=model.network, target_layers=[model.network.get_submodule(layer)])
    return lambda path: cam(input_tensor=prepare(Image.open(path).convert("RGB"))[None], targets=None)


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of processor time, that of ended child processes included, and by the clock."""

    def processor() -> float:
        each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in each)

    before, start = processor(), time.perf_counter()
    work()
    return processor() - before, time.perf_counter() - start


# ---- memory


def over_time(given: argparse.Namespace, plot: Path) -> dict[str, Any]:
    """One job to its end, with what it holds every second."""
    todo = ready(given, given.work / f"memory-{given.engine}", [given.work / "pictures"], shard=256)
    before, start = todo.done, time.monotonic()
    marks: list[tuple[float, int]] = []
    with watched() as samples:
        for tick in todo.run(given.workers):
            before += tick.pictures
            if tick.part is not None:
                marks.append((time.monotonic() - start, before))
                print(f"{before} pictures, {samples[-1][1]:.0f} MiB", flush=True)
    minute = min(60.0, samples[-1][0] / 4)
    after = [held for at, held in samples if at >= minute]
    _plot(plot, samples, marks)
    flat = {"from": minute, "least": min(after), "most": max(after), "most / least": max(after) / min(after)}
    print(f"after {minute:.0f} s: {flat['least']:.0f} to {flat['most']:.0f} MiB, x {flat['most / least']:.3f}")
    return {"samples": samples, "pictures": marks, "flat": flat}


@contextmanager
def watched(every: float = 1.0) -> Iterator[list[tuple[float, float]]]:
    """``(seconds, MiB)`` while the body runs: this process and its children, what they share counted once (PSS)."""
    samples: list[tuple[float, float]] = []
    ended, start = threading.Event(), time.monotonic()

    def sample() -> None:
        while True:
            samples.append((time.monotonic() - start, held()))
            if ended.wait(every):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def held() -> float:
    """MiB of this process and its children; pages that several share are divided among them."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    total = 0
    for pid in (str(own), *children):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:  # it has just ended
            continue
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def _plot(file: Path, samples: Sequence[tuple[float, float]], marks: Sequence[tuple[float, int]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 3.2), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots()
    axes.plot(*zip(*samples, strict=True), color="#2b5f9e", label="memory held, reading processes included")
    axes.set(xlabel="seconds", ylabel="MiB", ylim=(0, None))
    other = axes.twinx()
    other.plot(*zip(*marks, strict=True), color="#b8642a", linestyle="--", label="pictures done")
    other.set(ylabel="pictures", ylim=(0, None))
    drawn.legend(loc="outside upper center", ncols=2, frameon=False)
    drawn.savefig(file, dpi=150)


def listing(given: argparse.Namespace, paths: Sequence[Path]) -> dict[str, Any]:
    """What a list of so many pictures costs before the first is read, and while a few shards are."""
    file = given.work / f"{given.list}.txt"
    with file.open("w") as lines:
        lines.writelines(f"{paths[number % len(paths)].resolve()}\n" for number in range(given.list))
    ready(given, given.work / "list-warm", [paths[0]])  # the network is loaded, and the engine built
    before, start = held(), time.perf_counter()
    todo = ready(given, given.work / f"list-{given.list}", [file], shard=256)
    seconds, after = time.perf_counter() - start, held()
    left = todo.left
    for _ in todo.run(given.workers, left[-2:]):
        pass
    print(f"{given.list} pictures listed in {seconds:.1f} s; MiB {before:.0f} before, {after:.0f} after, {held():.0f}")
    print(json.dumps({"offsets": len(todo.listing.offsets) * 8}))
    return {"seconds": seconds, "before": before, "after": after, "at the end": held()}


if __name__ == "__main__":
    main()
