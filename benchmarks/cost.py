"""How long an explanation takes, in plain forward passes of the same network.

    python -m benchmarks.cost [--networks resnet50 ...] [--batch 1 8] [--rounds N] [--threads N] [--json FILE]

One interleaved run: every round times every contender once, in an order of its own, and each time is divided by the
plain forward's of the same round, so that what slows the machine for a while slows both. Reported are the median and
the quartiles of those ratios, and no times: they belong to one machine. Where others work on the machine too, one
thread and the processor's clock (``--threads 1 --clock cpu``) leave most of their part out.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contenders import CONTENDERS, NETWORKS, describe, machine, present, question
from benchmarks.tables import Spread, markdown, write
from tests.architectures import SIZES, build

LEAST = 0.1
"""Seconds that one measurement lasts at least: a quick network runs several times in it."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.cost", description="Time explanations, in forward passes."
    )
    options.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, metavar="NAME")
    options.add_argument("--contenders", nargs="+", default=present(), choices=list(CONTENDERS), metavar="NAME")
    options.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--clock", choices=list(CLOCKS), default="wall")
    options.add_argument("--json", type=Path, default=Path("out/bench/cost.json"))
    given = options.parse_args(arguments)
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")  # random weights make maps of zeros, which limelight tells
    facts = machine()
    results: dict[int, dict[str, dict[str, Spread]]] = {batch: {} for batch in given.batch}
    for name in given.networks:
        network = build(name)
        for batch in given.batch:
            images = torch.randn(batch, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(1))
            results[batch][name] = ratios(network, images, given.contenders, given.rounds, given.clock)
            print(
                f"{name}, batch {batch}: " + ", ".join(f"{k} {v}" for k, v in results[batch][name].items()), flush=True
            )
    print(f"\nTime ({given.clock} clock) in plain forwards, median of {given.rounds} rounds (quartiles).")
    print(describe(facts) + "\n")
    for batch, rows in results.items():
        print(markdown(f"batch {batch}", rows) + "\n")
    write(given.json, {"machine": facts, "clock": given.clock, "rounds": given.rounds, "ratios": results})


def ratios(
    network: nn.Module, images: Tensor, contenders: Sequence[str], rounds: int, clock: str = "wall", seed: int = 0
) -> dict[str, Spread]:
    """Each contender's time as a multiple of the plain forward's in the same round, at limelight's default layer."""
    layer, target = question(network, images)
    order = ["plain", *(name for name in contenders if name != "plain")]
    shuffle = random.Random(seed).shuffle
    rows: list[dict[str, float]] = []
    calls = dict.fromkeys(order, 1)
    for number in range(rounds + 1):
        shuffle(order)
        times = {}
        for name in order:
            # Set up anew each time: a peer's hooks would slow the others.
            with CONTENDERS[name](network, layer, images, target) as run:
                times[name] = _seconds(run, calls[name], CLOCKS[clock])
        if number:
            rows.append(times)
        else:  # the first round warms up, and says how often a measurement must run
            calls = {name: max(1, round(LEAST / seconds)) for name, seconds in times.items()}
    return {name: Spread.of([row[name] / row["plain"] for row in rows]) for name in contenders if name != "plain"}


def _seconds(run: Callable[[], Any], calls: int, clock: Callable[[], float]) -> float:
    """Seconds a call, over some calls in a row, without the garbage collector's."""
    gc.collect()
    gc.disable()
    try:
        start = clock()
        for _ in range(calls):
            run()
        return (clock() - start) / calls
    finally:
        gc.enable()


if __name__ == "__main__":
    main()
