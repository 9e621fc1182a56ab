"""How much memory an explanation takes at its peak, in a plain forward pass's of the same network.

    python -m benchmarks.memory [--networks resnet50 ...] [--batch 8] [--json FILE]

Every measurement has a process of its own, which builds the network, runs the contender once on one small image (what
libraries allocate once is no part of the cost), and then on the batch. Two ratios to the plain forward:

- whole: the process's peak, weights and libraries included; what a machine must have.
- added: the peak less what the process held right before the call: activations, graph, gradients. The stricter one.

The peak is the kernel's (``VmHWM``, set back to the present before the call, which only Linux can). The C library is
told to return freed tensors at once, so that a peak is not blurred by what it keeps.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.contenders import CONTENDERS, NETWORKS, describe, machine, present, question
from benchmarks.tables import Spread, markdown, write
from tests.architectures import SIZES, build

SMALL = 96
RETURN_FREED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="Peak memory of explanations.")
    options.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, metavar="NAME")
    options.add_argument("--contenders", nargs="+", default=present(), choices=list(CONTENDERS), metavar="NAME")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", type=Path, default=Path("out/bench/memory.json"))
    options.add_argument("--one", nargs=2, metavar=("NETWORK", "CONTENDER"), help=argparse.SUPPRESS)
    given = options.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(*given.one, given.batch)))
        return
    whole: dict[str, dict[str, Spread]] = {}
    added: dict[str, dict[str, Spread]] = {}
    for name in given.networks:
        whole[name], added[name] = ratios(name, given.contenders, given.batch, given.rounds)
        print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in added[name].items()), flush=True)
    facts = machine()
    print(f"\nPeak memory in a plain forward's, batch {given.batch}, median of {given.rounds} processes (quartiles).")
    print(describe(facts) + "\n")
    print(markdown("added by the call", added) + "\n")
    print(markdown("whole process", whole))
    write(given.json, {"machine": facts, "batch": given.batch, "rounds": given.rounds, "added": added, "whole": whole})


def ratios(
    network: str, contenders: Sequence[str], batch: int, rounds: int
) -> tuple[dict[str, Spread], dict[str, Spread]]:
    """Each contender's peak as a multiple of the plain forward's: of whole processes, and of what the call added."""
    others = [name for name in contenders if name != "plain"]
    rows = [{name: _in_a_process(network, name, batch) for name in ["plain", *others]} for _ in range(rounds)]
    of_whole = {name: Spread.of([row[name][0] / row["plain"][0] for row in rows]) for name in others}
    of_added = {name: Spread.of([row[name][1] / row["plain"][1] for row in rows]) for name in others}
    return of_whole, of_added


def _in_a_process(network: str, contender: str, batch: int) -> tuple[int, int]:
    command = [sys.executable, "-m", "benchmarks.memory", "--batch", str(batch), "--one", network, contender]
    done = subprocess.run(command, env=os.environ | RETURN_FREED, stdout=subprocess.PIPE, check=True)
    whole, added = json.loads(done.stdout)
    return whole, added


def measure(name: str, contender: str, batch: int) -> tuple[int, int]:
    """The peak of this process while the contender runs once, and how much of it the call added, in KiB."""
    warnings.simplefilter("ignore")  # random weights make maps of zeros, which limelight tells
    network = build(name)
    small, images = torch.randn(1, 3, SMALL, SMALL), torch.randn(batch, 3, SIZES[name], SIZES[name])
    layer, target = question(network, small)
    for each in (small, images):
        with CONTENDERS[contender](network, layer, each, target) as run:
            Path("/proc/self/clear_refs").write_text("5")  # the peak is what it is now
            before = _status("VmRSS")
            run()
            peak = _status("VmHWM")
    return peak, peak - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


if __name__ == "__main__":
    main()
