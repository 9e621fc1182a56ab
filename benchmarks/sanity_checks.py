"""Adebayo's sanity checks over every method: how alike its maps stay while the network is drawn anew from the top down.

    python -m benchmarks.sanity_checks --pictures FOLDER [--network efficientnet_lite0] [--number 4] [--stages 6]

A row a method: the rank correlation of the trained network's map with that of each stage, of the values and of their
magnitudes, and the structural similarity at the last stage, averaged over the pictures; the same for a map of edges,
which no network has made. Rows are written as they are ready (``--json``) and those that are there are not done again.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import limelight as ll
from limelight.errors import LimelightError
from limelight.evaluation import Scene, chance_maps, explainer
from limelight.evaluation.randomise import cascade
from limelight.evaluation.sanity import rank_similarity, structural_similarity
from limelight.images import read
from limelight.methods import REGISTRY, get

FEWER = {
    "ablationcam": {}, "scorecam": {"top": 32}, "sscam": {"samples": 2, "top": 8}, "iscam": {"steps": 3, "top": 8},
    "rise": {"samples": 300}, "sobol": {"samples": 8}, "hsic": {"samples": 200}, "lime": {"samples": 200},
    "kernelshap": {"samples": 200}, "opticam": {"steps": 30}, "integratedgradients": {"steps": 16},
    "extremalperturbation": {"steps": 60}, "meaningfulperturbation": {"steps": 60},
}  # fmt: skip
"""Settings that cost less: what is looked at here is whether the map changes, not how fine it is."""
PATIENCE = 60.0
"""Seconds of the processor that a method's first maps may take before it is left out, and said to be."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.sanity_checks", description=__doc__)
    options.add_argument("--pictures", type=Path, required=True)
    options.add_argument("--network", default="efficientnet_lite0")
    options.add_argument("--number", type=int, default=4)
    options.add_argument("--stages", type=int, default=6)
    options.add_argument("--methods", nargs="+", default=list(REGISTRY))
    options.add_argument("--patience", type=float, default=PATIENCE)
    options.add_argument("--json", type=Path, default=Path("out/bench/sanity.json"))
    given = options.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model = ll.load(given.network)
    files = sorted(path for path in given.pictures.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    every = max(1, len(files) // given.number)
    assert model.preprocessing is not None
    x = torch.stack([model.preprocessing(read(path).pixels, "crop")[0] for path in files[::every][: given.number]])
    scene = Scene.of(model, x)
    stages = list(cascade(scene.network, given.stages))
    rows: dict[str, Any] = json.loads(given.json.read_text()) if given.json.exists() else {}
    for name in ["edges", *given.methods]:
        if name not in rows:
            rows[name] = row(name, scene, stages, given.patience)
            given.json.parent.mkdir(parents=True, exist_ok=True)
            given.json.write_text(json.dumps(rows, indent=1))
            print(name, rows[name], flush=True)
    print("\n" + table(rows, [name for name, _ in stages]))


def row(name: str, scene: Scene, stages: list[tuple[str, nn.Module]], patience: float) -> dict[str, Any]:
    """One method's similarities, stage by stage."""
    start = time.process_time()
    try:
        own = maps(name, scene.network, scene)
        seconds = time.process_time() - start
        if seconds > patience:
            return {"left out": f"{seconds:.0f} s for the first maps"}
        changed = [maps(name, network, scene) for _, network in stages]
    except LimelightError as error:
        return {"left out": str(error)}
    return {
        "values": [round(float(rank_similarity(own, each).mean()), 3) for each in changed],
        "magnitudes": [round(float(rank_similarity(own, each, magnitude=True).mean()), 3) for each in changed],
        "ssim": [round(float(structural_similarity(own, each).mean()), 3) for each in changed],
    }


def maps(name: str, network: nn.Module, scene: Scene) -> Tensor:
    if name == "edges":
        return chance_maps("edges", scene.inputs, (28, 28))
    return explainer(get(name)(**FEWER.get(name, {})))(network, scene.inputs, scene.question)


def table(rows: dict[str, Any], stages: list[str]) -> str:
    lines = [
        "| method | " + " | ".join(f"to `{stage}`" for stage in stages) + " | magnitudes, last | SSIM, last |",
        "|---|" + "--:|" * (len(stages) + 2),
    ]
    measured = {name: found for name, found in rows.items() if "values" in found}
    for name, found in sorted(measured.items(), key=lambda row: -sum(row[1]["values"])):
        values = " | ".join(f"{value:.2f}" for value in found["values"])
        lines.append(f"| `{name}` | {values} | {found['magnitudes'][-1]:.2f} | {found['ssim'][-1]:.2f} |")
    left = [f"\nLeft out: `{name}`, {found['left out']}" for name, found in rows.items() if "values" not in found]
    return "\n".join([*lines, *left])


if __name__ == "__main__":
    main()
