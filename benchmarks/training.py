"""What `limelight train` reaches, and in what time, on pictures that others have measured on.

    python -m benchmarks.training DATA [--only NAME ...] [--json FILE]

DATA is the folder of the development photographs: rice-vs-beans and two-class/ants-vs-bees are taken with the splits
they came with, chest-xray/*.npz is written to a folder first and split by the seed. Each row is one run as a user would
start it, with the defaults: the test's accuracy with its 95 % interval, seconds by the wall, seconds of processor. The
machine's load is printed, because the wall's seconds depend on it.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.contenders import describe, machine
from limelight.training import train

FROZEN: dict[str, Any] = {"frozen": True}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "rice and beans, frozen": ("rice-vs-beans", FROZEN),
    "rice and beans, fine-tuned": ("rice-vs-beans", {}),
    "ants and bees, frozen": ("two-class/ants-vs-bees", FROZEN),
    "ants and bees, fine-tuned": ("two-class/ants-vs-bees", {}),
    "chest films, frozen": ("chest-xray", FROZEN | {"size": 64, "augment": "none"}),
    "chest films, fine-tuned": ("chest-xray", {"size": 64, "augment": "none"}),
    "chest films, small CNN from nothing": ("chest-xray", {"model": "small_cnn", "size": 28, "augment": "none"}),
}


def main() -> None:
    options = argparse.ArgumentParser(description="What training reaches, and in what time.")
    options.add_argument("data", type=Path)
    options.add_argument("--only", nargs="+", default=[], metavar="NAME", help="Rows whose name holds one of these.")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    facts = machine()
    print(describe(facts), flush=True)
    chosen = {name: run for name, run in RUNS.items() if not given.only or any(part in name for part in given.only)}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, (source, how)) in enumerate(chosen.items()):
            rows.append(
                {"run": name} | measured(prepared(given.data, source, Path(scratch)), Path(scratch, str(number)), how)
            )
            print(line(rows[-1]), flush=True)
    print(
        "\n".join(
            [
                "",
                "| | test accuracy | 95 % | of | wall, s | processor, s |",
                "|---|--:|--:|--:|--:|--:|",
                *map(line, rows),
            ]
        )
    )
    if given.json:
        given.json.write_text(json.dumps({"machine": facts, "runs": rows}, indent=2) + "\n")


def measured(source: Path, out: Path, how: dict[str, Any]) -> dict[str, Any]:
    """One run's figures."""
    wall, processor = time.perf_counter(), _processor()
    done = train(source, out, **how)
    names = ("accuracy", "interval", "pictures", "duplicates", "temperature")
    return {
        **{name: done.report[name] for name in names},
        "wall": time.perf_counter() - wall,
        "processor": _processor() - processor,
    }


def prepared(data: Path, source: str, scratch: Path) -> Path:
    """The source as `limelight train` takes it."""
    if source != "chest-xray":
        return data / source
    folder = scratch / source
    if not folder.is_dir():
        (file,) = (data / source).glob("*.npz")
        with np.load(file) as held:
            for i, (pixels, label) in enumerate(zip(held["images"], held["labels"], strict=True)):
                place = folder / ("normal", "pneumonia")[label]
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place / f"{i:04d}.png")
    return folder


def line(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"| {row['run']} | {row['accuracy']:.3f} | {low:.3f}-{high:.3f} | {row['pictures']} "
        f"| {row['wall']:.0f} | {row['processor']:.0f} |"
    )


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
