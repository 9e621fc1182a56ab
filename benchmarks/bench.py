"""What an explained prediction costs, in each engine and beside the peers: one page and a JSON file.

    python -m benchmarks.bench [--networks resnet50 ...] [--batch 1 8] [--rounds N] [--clock wall|cpu] [--out DIR]
    python -m benchmarks.bench --compare BEFORE.json AFTER.json

For each network and batch, on one thread: the plain forward in eager PyTorch, which all times are divided by; the same
prediction in each engine (``--engines``); prediction and Grad-CAM in each; and grad-cam, torchcam and captum at the
same layer and class, and a backward pass through the whole network. One interleaved run: every round times each once,
in an order of its own; reported are the median and the quartiles of each round's ratios. Peak memory is a matter of
its own process: ``benchmarks.memory``, whose file in the same folder is taken into the page. The JSON is written after
every network and gone on with; the page, ``bench.html``, at the end.

``--compare`` tells which ratios have become worse, and ends with 1 if any has: a median more than a tenth above the old
one whose lower quartile lies above the old upper one.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import limelight as ll
from benchmarks.contenders import CONTENDERS, NETWORKS, describe, machine, present, question
from benchmarks.cost import CLOCKS
from benchmarks.tables import Spread, markdown, write
from limelight.engines import making
from limelight.engines.making import openvino_model
from limelight.errors import LimelightError
from limelight.export import to_onnx
from limelight.export.graph import scores_alone
from limelight.report.blocks import Page, Section, Table
from limelight.report.page import html
from tests.architectures import SIZES, build

ENGINES = ("eager", "onnx", "openvino")
"""Those that are timed without being asked; "compile" takes minutes a network to build."""
WORSE = 1.1


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.bench", description="Time explained predictions.")
    options.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, metavar="NAME")
    options.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(making.MAKERS), metavar="NAME")
    options.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--clock", choices=list(CLOCKS), default="cpu")
    options.add_argument("--out", type=Path, default=Path("out/bench"))
    options.add_argument("--compare", nargs=2, type=Path, metavar="FILE")
    given = options.parse_args(arguments)
    if given.compare:
        found = [ratios_in(json.loads(path.read_text())) for path in given.compare]
        worse = regressions(*found)
        print("\n".join(worse) or f"none of {len(found[1])} ratios has become worse")
        sys.exit(1 if worse else 0)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    path = given.out / "bench.json"
    document: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"ratios": {}, "refused": {}}
    for name in given.networks:
        for batch in map(str, given.batch):
            rows = document["ratios"].setdefault(batch, {})
            if name not in rows:
                images = torch.randn(
                    int(batch), 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(1)
                )
                row, refused = measured(build(name), images, given.engines, given.rounds, CLOCKS[given.clock])
                rows[name] = row
                document["refused"] |= {f"{name}, {engine}": why for engine, why in refused.items()}
                print(f"{name}, batch {batch}: " + ", ".join(f"{k} {v}" for k, v in row.items()), flush=True)
                write(path, {**document, "machine": machine(), "clock": given.clock, "rounds": given.rounds})
    document = json.loads(path.read_text())
    peaks = given.out / "memory.json"
    (given.out / "bench.html").write_text(html(page(document, json.loads(peaks.read_text()) if peaks.exists() else {})))
    print("\n\n".join(tables(document).values()))
    print(f"\n{describe(document['machine'])}\n{given.out / 'bench.html'}")


def measured(
    network: nn.Module, images: Tensor, engines: Sequence[str], rounds: int, clock: Callable[[], float]
) -> tuple[dict[str, Spread], dict[str, str]]:
    """Each time as a multiple of the plain forward's in the same round; and which engines can't, and why."""
    size = (images.shape[2], images.shape[3])
    asked = making.Question(ll.load(network), "gradcam", None, None, size, "mean")
    timed: dict[str, Callable[[], Any]] = {"forward": partial(_forward, network, images)}
    refused: dict[str, str] = {}
    for name in engines:
        try:
            engine = making.MAKERS[name](asked)
        except LimelightError as error:
            refused[name] = str(error)
            continue
        timed[f"{name}, map"] = partial(engine, images)
        if name == "onnx":
            session = to_onnx.session(scores_alone(asked.graph.graph), threads=1)
            timed["onnx, prediction"] = partial(session.run, None, {to_onnx.IMAGE: images.numpy()})
        if name == "openvino":
            bare = openvino_model(scores_alone(asked.graph.graph), threads=1)
            timed["openvino, prediction"] = partial(bare, [images.numpy()])
    layer, target = question(network, images)
    peers = [name for name in present() if name not in ("plain", "limelight")]
    order = [*timed, *peers]
    found: list[dict[str, float]] = []
    for number in range(rounds + 1):
        random.Random(number).shuffle(order)
        row = {}
        for name in order:
            with ExitStack() as once:  # a peer is set up anew each time: its hooks would slow the others
                peer = None if name in timed else CONTENDERS[name](network, layer, images, target)
                run = timed[name] if peer is None else once.enter_context(peer)
                start = clock()
                run()
                row[name] = clock() - start
        if number:  # the first warms up
            found.append(row)
    names = [name for name in (*timed, *peers) if name != "forward"]
    return {name: Spread.of([row[name] / row["forward"] for row in found]) for name in names}, refused


def _forward(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(images)


def ratios_in(document: Mapping[str, Any]) -> dict[str, Spread]:
    """Every ratio of a result file by a name of its own."""
    return {
        f"{network}, batch {batch}, {name}": Spread(*value)
        for batch, rows in document["ratios"].items()
        for network, row in rows.items()
        for name, value in row.items()
    }


def regressions(before: Mapping[str, Spread], after: Mapping[str, Spread]) -> list[str]:
    """What has become worse, in words; what stands in one file only is passed over."""
    return [
        f"{name}: {before[name]} before, {now} now"
        for name, now in after.items()
        if name in before and now.median > WORSE * before[name].median and now.low > before[name].high
    ]


def tables(document: Mapping[str, Any]) -> dict[str, str]:
    """A Markdown table a batch, of what was measured on every network."""
    found = {}
    for batch, rows in document["ratios"].items():
        names = [name for name in columns(rows) if all(name in row for row in rows.values())]
        spreads = {network: {name: Spread(*row[name]) for name in names} for network, row in rows.items()}
        found[batch] = markdown(f"batch {batch}", spreads)
    return found


def columns(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All names, in the order in which they first stand."""
    return list(dict.fromkeys(name for row in rows.values() for name in row))


def page(document: Mapping[str, Any], peaks: Mapping[str, Any]) -> Page:
    """The results as one page, with those of ``benchmarks.memory`` where there are any."""
    sections = [_section(batch, rows) for batch, rows in document["ratios"].items()]
    if peaks:
        sections.append(_memory(peaks))
    refused = [[what, why] for what, why in document["refused"].items()]
    failures = Section("refused", "What could not be had", "", [Table("", ["what", "why"], refused)])
    return Page(
        title="What an explained prediction costs",
        kicker="Benchmark",
        facts=[(key, str(value)) for key, value in document["machine"].items() if value is not None],
        verdict=None,
        sections=sections,
        appendix=[failures] if refused else [],
        colophon=[
            "Times are divided by the plain forward pass in eager PyTorch of the same round; no seconds are given, as "
            f"they belong to one machine. Median of {document['rounds']} rounds, interleaved, with quartiles; one "
            f"thread, {document['clock']} clock. Random weights that are alive.",
            "Map: scores, class, raw map at the default layer and, in every engine, the map at the input's size. "
            "The peers are asked for the same class and layer, as their users call them.",
        ],
    )


def _section(batch: str, rows: Mapping[str, Mapping[str, Any]]) -> Section:
    names = columns(rows)
    table = [[n, *(str(Spread(*row[name])) if name in row else "-" for name in names)] for n, row in rows.items()]
    medians = {name: median(row[name][1] for row in rows.values() if name in row) for name in names}
    table.append(["median", *(f"{medians[name]:.2f}" for name in names)])
    best = min((name for name in names if name.endswith("map")), key=lambda name: medians[name])
    there = sum(best in row for row in rows.values())
    answer = (
        f"Cheapest is {best.removesuffix(', map')}: prediction and map take {medians[best]:.2f} of the plain forward "
        f"on {f'the median of the {there} networks it runs' if there > 1 else 'this network'}."
    )
    basis = "In plain forwards of eager PyTorch; median (quartiles) over the rounds; the last row is over the networks."
    blocks = [Table(f"Batch {batch}", ["network", *names], table, range(1, len(names) + 1), basis)]
    return Section(f"batch-{batch}", f"What does it cost, {batch} at once?", answer, blocks)


def _memory(peaks: Mapping[str, Any]) -> Section:
    names = columns(peaks["added"])
    rows = [[network, *(str(Spread(*row[name])) for name in names)] for network, row in peaks["added"].items()]
    own = median(row["limelight"][1] for row in peaks["added"].values())
    answer = f"On the median network a call of limelight takes {own:.2f} of what a plain forward takes."
    basis = (
        f"The peak that a call adds to what its process holds, {peaks['batch']} images at once, in a plain forward's; "
        f"median (quartiles) of {peaks['rounds']} processes."
    )
    table = Table("Peak memory", ["network", *names], rows, range(1, len(names) + 1), basis)
    return Section("memory", "How much memory does it take?", answer, [table])


if __name__ == "__main__":
    main()
