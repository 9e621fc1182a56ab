"""How long an explained prediction takes as one graph, beside bare predictions.

    python -m benchmarks.export [--networks resnet50 ...] [--bfloat16 eager openvino compile] [--rounds N]
        [--clock wall|cpu] [--json FILE]

For each network, at batch 1 on one thread: the eager PyTorch forward (inference mode), ONNX Runtime's forward of the
same network alone (the graph less what the scores do not need), and the exported graph of network and Grad-CAM at the
default layer, which gives scores, class, raw map and map; the same two on OpenVINO, where it is installed; and the map
by the engines of ``--bfloat16``, with the rank correlation of their maps with the network's on five images of noise
(one that is refused is told, and timed all the same). One interleaved run: every round times each once, in an order of
its own; reported are the median and the quartiles of each round's ratios. Where others work on the machine, the
processor's clock leaves most of their part out. Weights are random and alive (``tests.architectures``). The file is
written after every network, and one that is in it already is not done again.
"""

from __future__ import annotations

import argparse
import json
import random
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import limelight as ll
from benchmarks.contenders import describe, machine
from benchmarks.cost import CLOCKS
from benchmarks.tables import Spread, markdown, write
from limelight.engines.making import openvino_model
from limelight.errors import ModelError
from limelight.export import to_onnx
from limelight.export.agreement import Agreement
from limelight.export.graph import scores_alone
from tests.architectures import enlivened

NETWORKS = (
    "resnet50",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "densenet121",
    "convnext_tiny",
    "vgg16",
    "vit_b_16",
)
FORWARD, PLAIN, MAP = "eager forward", "onnx forward", "onnx map"
OV_PLAIN, OV_MAP = "openvino forward", "openvino map"
PAIRS = ((MAP, FORWARD), (PLAIN, FORWARD), (MAP, PLAIN), (OV_MAP, FORWARD), (OV_MAP, OV_PLAIN))
"""What is divided by what; beside these, each map in bfloat16 by the eager forward."""
BFLOAT16 = ("eager", "openvino", "compile")


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.export", description="Time exported explanations.")
    options.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME")
    options.add_argument("--bfloat16", nargs="*", default=["eager", "openvino"], choices=BFLOAT16, metavar="ENGINE")
    options.add_argument("--rounds", type=int, default=21)
    options.add_argument("--clock", choices=list(CLOCKS), default="cpu")
    options.add_argument("--json", type=Path, default=Path("out/bench/export.json"))
    given = options.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    document: dict[str, Any] = {"ratios": {}, "maps within, median and worst image": {}, "bfloat16": {}}
    if given.json.exists():
        document = json.loads(given.json.read_text())
    for name in given.networks:
        if name in document["ratios"]:
            continue
        model = ll.load(f"torchvision/{name}", weights="random")
        enlivened(model.network, 224)
        compiled = ll.compile(model, batch=1)
        image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        timed = contenders(model.network, compiled, image)
        said = document.setdefault("bfloat16", {}).setdefault(name, {})
        for engine in given.bfloat16:
            try:
                with patch.object(Agreement, "good", True):  # one that would be refused for its answers is timed too
                    made = ll.engine(engine, model, precision="bfloat16")
            except ModelError as error:
                said[engine] = str(error)
                continue
            assert made.agreement is not None
            said[engine] = f"{made.agreement}{'' if made.agreement.good else '; so it is refused'}"
            timed[f"{engine} bf16 map"] = partial(made, image)
        row = ratios(timed, given.rounds, CLOCKS[given.clock])
        document["ratios"][name] = row
        document["maps within, median and worst image"][name] = compiled.agreement.map, compiled.agreement.worst_map
        print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in row.items()), compiled.agreement, flush=True)
        print("\n".join(f"{engine}: {what}" for engine, what in said.items()), flush=True)
        write(given.json, {"machine": machine(), "clock": given.clock, "rounds": given.rounds, **document})
    rows = {name: {key: Spread(*value) for key, value in row.items()} for name, row in document["ratios"].items()}
    print(f"\nMedian of {given.rounds} rounds (quartiles), {given.clock} clock, batch 1. {describe(machine())}\n")
    print(markdown("batch 1", rows))


def contenders(network: nn.Module, compiled: ll.Compiled, image: Tensor) -> dict[str, Callable[[], Any]]:
    """What is timed."""
    graphs = {PLAIN: scores_alone(compiled.graph), MAP: compiled.graph}

    def forward() -> Tensor:
        with torch.inference_mode():
            return network(image)

    timed: dict[str, Callable[[], Any]] = {FORWARD: forward}
    for name, graph in graphs.items():
        session = to_onnx.session(graph, threads=1)
        timed[name] = partial(session.run, None, {to_onnx.IMAGE: image.numpy()})
    if find_spec("openvino"):
        for name, graph in zip((OV_PLAIN, OV_MAP), graphs.values(), strict=True):
            timed[name] = partial(openvino_model(graph, threads=1), [image.numpy()])
    return timed


def ratios(timed: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]) -> dict[str, Spread]:
    """The ratios of :data:`PAIRS`, round by round, after one that warms up."""
    order, found = list(timed), []
    shuffle = random.Random(0).shuffle
    for number in range(rounds + 1):
        shuffle(order)
        seconds = {}
        for name in order:
            start = clock()
            timed[name]()
            seconds[name] = clock() - start
        if number:
            found.append(seconds)
    pairs = [*PAIRS, *((name, FORWARD) for name in timed if "bf16" in name)]
    return {
        f"{above} / {below}": Spread.of([each[above] / each[below] for each in found])
        for above, below in pairs
        if above in timed
    }


if __name__ == "__main__":
    main()
