"""Which networks can be exported, and how far their graphs' answers are from their own.

    python -m benchmarks.export_zoo [--networks NAME ...] [--json FILE]

Grad-CAM at the default layer, random weights that are alive (seeded; see ``tests.architectures``), five images of
noise. "From double precision" and "rounding alone" are what decides (:mod:`limelight.export.agreement`). The file is
written after every network, and one that is in it already is not done again.
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

import limelight as ll
from limelight.errors import LimelightError
from limelight.files import write_whole
from tests.architectures import enlivened

NAMES = """
    resnet50 mobilenet_v3_large efficientnet_b0 densenet121 convnext_tiny vgg16 efficientnet_lite0 vit_b_16
    resnet18 resnext50_32x4d alexnet vgg11_bn squeezenet1_1 mobilenet_v2 mobilenet_v3_small mnasnet0_5
    shufflenet_v2_x0_5 regnet_x_400mf regnet_y_400mf googlenet inception_v3 efficientnet_v2_s timm/mixnet_s
    timm/ghostnet_100 timm/lcnet_050 timm/tinynet_e timm/fbnetc_100 timm/rexnet_100 timm/dla34 timm/resnest14d
    timm/skresnet18 timm/seresnet50 timm/ecaresnet26t timm/res2net50_14w_8s timm/cspresnet50 timm/repvgg_a0
    timm/mobileone_s0 timm/nf_regnet_b1 timm/resnetv2_50 timm/convnextv2_atto timm/hardcorenas_a
    timm/semnasnet_075 timm/selecsls42b timm/hrnet_w18_small timm/gernet_s timm/resnet26d timm/vovnet39a swin_t
    timm/vit_tiny_patch16_224 timm/deit_tiny_distilled_patch16_224 timm/levit_128s timm/poolformer_s12
    timm/mobilevit_xxs timm/mobilevitv2_050 timm/edgenext_xx_small timm/pit_ti_224 timm/xcit_nano_12_p16_224
    timm/efficientformer_l1 timm/mixer_s32_224
"""
NETWORKS = tuple(NAMES.split())
"""Those of the speed table first; "timm/..." where torchvision has none."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.export_zoo", description="Export many networks.")
    options.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME")
    options.add_argument("--json", type=Path, default=Path("out/bench/export_zoo.json"))
    given = options.parse_args(arguments)
    warnings.simplefilter("ignore")
    done: dict[str, dict[str, Any]] = json.loads(given.json.read_text()) if given.json.exists() else {}
    for name in given.networks:
        if name not in done:
            done[name] = exported(name)
            write_whole(given.json, json.dumps(done, indent=1))
            print(f"{name}: {done[name]}", flush=True)
    print(table(done))


def exported(name: str) -> dict[str, Any]:
    """What became of one network."""
    torch.manual_seed(0)
    start = time.process_time()
    try:
        model = ll.load(
            name if "/" in name or name == "efficientnet_lite0" else f"torchvision/{name}", weights="random"
        )
        enlivened(model.network, 224)
        found = ll.compile(model)
    except LimelightError as error:
        return {"error": str(error)}
    agreement = found.agreement
    return {
        "layer": str(found.step.cut.sites[0]),
        "map": agreement.map,
        "worst": agreement.worst_map,
        "scores": agreement.scores,
        "double": agreement.graph and agreement.graph.worst_map,
        "rounding": agreement.rounding and agreement.rounding.worst_map,
        "operations": len(found.graph.graph.node),
        "batch": "any" if found.batch is None else found.batch,
        "seconds": round(time.process_time() - start, 1),
    }


def table(done: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = [
        "| network | layer | map, median image | worst image | to double | rounding alone | scores | batch |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    refused = {}
    for name, found in done.items():
        if "error" in found:
            refused[name] = found["error"]
            continue
        errors = " | ".join(_said(found[key]) for key in ("map", "worst", "double", "rounding", "scores"))
        lines.append(f"| {name} | `{found['layer']}` | {errors} | {found['batch']} |")
    lines += ["", *(f"- {name}: {error}" for name, error in refused.items())]
    good = sum("error" not in found for found in done.values())
    return "\n".join([*lines, "", f"{good} of {len(done)} exported."])


def _said(error: float | None) -> str:
    return "-" if error is None else f"{error:.0e}"


if __name__ == "__main__":
    main()
