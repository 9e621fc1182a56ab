"""Which metrics prefer a map that is known to be true to maps that are known to be worse, and how often.

python -m benchmarks.judge_metrics [--number 50] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from limelight.evaluation import REGISTRY
from limelight.evaluation.case import Case
from limelight.evaluation.judge import WORSE, RedReader, judged, scenes
from limelight.evaluation.registry import Metric, get
from limelight.evaluation.scene import Scene

BASELINES = ("blur", "mean")


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.judge_metrics", description=__doc__)
    options.add_argument("--number", type=int, default=50)
    options.add_argument("--json", type=Path, default=Path("out/bench/judge.json"))
    given = options.parse_args(arguments)
    torch.set_num_threads(1)
    rows: dict[str, dict[str, float]] = json.loads(given.json.read_text()) if given.json.exists() else {}
    for metric in judgeable():
        if metric.label not in rows:  # what is there is not measured again
            rows |= judged([metric], given.number)
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(rows, indent=1))
    print("| metric | " + " | ".join(WORSE) + " | mean |\n|---|" + "--:|" * (len(WORSE) + 1))
    for name, found in sorted(rows.items(), key=lambda item: -sum(item[1].values())):
        mean = sum(found.values()) / len(found)
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in found.values()) + f" | **{mean:.2f}** |")


def judgeable() -> list[Metric]:
    """Every metric that needs nothing but maps and masks; those with a choice of baseline, with several."""
    made = scenes(1)
    case = Case.of(Scene.of(RedReader(), made.images, 0), made.deciding.float(), masks=made.deciding)
    chosen = []
    for name, metric in REGISTRY.items():
        # A map's mask has no scale, so whether its sum is right can't be asked.
        if not metric.better or not case.can(name) or name == "completeness":
            continue
        if name in ("deletion", "insertion", "margin"):
            chosen += [get(name)(steps=20, baseline=baseline) for baseline in BASELINES]
        else:
            chosen.append(metric)
    return chosen


if __name__ == "__main__":
    main()
