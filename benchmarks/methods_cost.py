"""What each method costs, in plain forward passes of the same network, and how much memory it takes.

    python -m benchmarks.methods_cost [--networks resnet18 ...] [--methods gradcam,fullgrad,...] [--peers]

One image, the network's default layer, random weights. In one interleaved run: every round runs every contender once,
in an order of its own, each right after a plain forward pass, and its time is divided by that pass's. Reported are
medians and quartiles of these ratios, the first call (which also finds the layer, and records the head where a method
replays it) and the peak of the tensors that are alive at once. ``--peers`` puts pytorch-grad-cam's, torchcam's and
captum's methods of the same name beside ours; those that take hundreds of passes only where they are named.
``--second`` times what a second method on the same pass adds, ``--every`` the maps of all classes of one image beside
the matrix products of the head that they can't do without, ``--batches`` Score-CAM and RISE beside their forward passes
run in plain batches, also with channels last and in bfloat16. All of it is written to ``--json``.
"""

from __future__ import annotations

import argparse
import importlib
import random
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import limelight as ll
from benchmarks.contenders import machine
from benchmarks.cost import CLOCKS
from benchmarks.tables import Spread, write
from limelight.grid import default_layer
from limelight.methods.registry import get
from tests.architectures import SIZES, build

NETWORKS = ("resnet18", "resnet50", "mobilenet_v3_large", "vgg16", "vit_b_16")
METHODS = """gradcam gradcampp xgradcam hirescam layercam lafam eigencam eigengradcam segeigencam kpcacam saliency
guidedbackprop fullgrad ablationcam"""
PEERS = {
    "pytorch_grad_cam": {
        **{"gradcam": "GradCAM", "gradcampp": "GradCAMPlusPlus", "xgradcam": "XGradCAM", "hirescam": "HiResCAM"},
        **{"layercam": "LayerCAM", "eigencam": "EigenCAM", "eigengradcam": "EigenGradCAM", "fullgrad": "FullGrad"},
        **{"ablationcam": "AblationCAM", "scorecam": "ScoreCAM"},
    },
    "torchcam.methods": {
        **{"gradcam": "GradCAM", "gradcampp": "GradCAMpp", "xgradcam": "XGradCAM", "layercam": "LayerCAM"},
        **{"scorecam": "ScoreCAM", "sscam": "SSCAM", "iscam": "ISCAM"},
    },
    "captum.attr": {"gradcam": "LayerGradCam", "saliency": "Saliency", "guidedbackprop": "GuidedBackprop"},
}
LONG = {"ablationcam", "scorecam", "sscam", "iscam"}
"""What takes the peers hundreds of passes."""

Runs = dict[str, Callable[[], Any]]


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.methods_cost", description="Time methods, in forwards."
    )
    options.add_argument("--networks", nargs="+", default=list(NETWORKS))
    options.add_argument("--methods", help=f"separated by commas; by default {', '.join(METHODS.split())}")
    options.add_argument("--peers", action="store_true")
    options.add_argument("--second", action="store_true", help="what a second method on the same pass adds")
    options.add_argument("--every", action="store_true", help="Grad-CAM of all classes of one image")
    options.add_argument("--batches", action="store_true", help="compare with forward passes in plain batches")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--clock", choices=list(CLOCKS), default="wall")
    options.add_argument("--json", type=Path, default=Path("out/bench/methods_cost.json"))
    given = options.parse_args(arguments)
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")  # random weights make maps of zeros, which limelight tells
    clock, found = CLOCKS[given.clock], {}
    print("network, contender: median ratio to a plain forward (quartiles); first call; peak memory")
    for name in given.networks:
        network, size = build(name), SIZES.get(name, 224)
        image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
        plain = plain_pass(network, image)
        runs: Runs = {}
        for method in given.methods.split(",") if given.methods else METHODS.split():
            runs[method] = partial(ll.explain, network, image, 0, method)
            if given.peers and (given.methods or method not in LONG):
                runs |= peers(method, network, image)
        if given.second:
            runs["gradcam and layercam"] = partial(ll.compare, network, image, ["gradcam", "layercam"], 0)
        if given.every:
            runs["gradcam of all classes"] = partial(ll.explain, network, image, ll.top(1000), "gradcam")
            if products := head_products(network, image):
                runs["their matrix products"] = products
        found[name] = compared(name, runs, plain, given.rounds, clock)
        if given.batches:
            for label, spread in against_batches(network, image, given.rounds, clock).items():
                found[name][label] = {"ratio": spread}
                print(f"{name}, {label}: {spread.median:.3f} ({spread.low:.3f}-{spread.high:.3f})", flush=True)
        write(given.json, {"machine": machine(), "clock": given.clock, "rounds": given.rounds, "ratios": found})


def compared(
    name: str, runs: Runs, plain: Callable[[], Any], rounds: int, clock: Callable[[], float]
) -> dict[str, dict[str, Any]]:
    """Each contender's ratios to a plain forward, its first call's, and the memory it takes beside the plain one's."""
    plain()
    base, found, first = peak_memory(plain), {}, {}
    for label, run in list(runs.items()):
        try:
            first[label] = ratio(run, plain, clock)
        except Exception as error:  # ours refuses in its own kinds, a peer fails in any
            if not isinstance(error, ll.errors.LimelightError) and " of " not in label:
                raise
            print(f"{name}, {label}: not here ({str(error)[:80]})", flush=True)
            del runs[label]
    ratios: dict[str, list[float]] = {label: [] for label in runs}
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        order = list(runs)
        shuffle(order)
        for label in order:
            ratios[label].append(ratio(runs[label], plain, clock))
    for label, run in runs.items():
        spread, memory = Spread.of(ratios[label]), peak_memory(run)
        found[label] = {"ratio": spread, "first": first[label], "bytes": memory, "plain_bytes": base}
        print(f"{name}, {label}: {spread}; first {first[label]:.1f}; ", end="")
        print(f"{memory / 2**20:.0f} MiB ({base / 2**20:.0f})", flush=True)
    return found


def ratio(run: Callable[[], Any], plain: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    plain()
    between = clock()
    run()
    return (clock() - between) / (between - start)


def head_products(network: nn.Module, image: Tensor, at_once: int = 100) -> Callable[[], Any] | None:
    """A plain pass, and the linear layers' backward products for a gradient of every class; None with one layer only.

    No method that has a gradient for each class can do without them: this is the arithmetic.
    """
    layers = [module.weight.detach() for module in network.modules() if isinstance(module, nn.Linear)]
    if len(layers) < 2 or any(isinstance(module, nn.MultiheadAttention) for module in network.modules()):
        return None
    classes, plain = len(layers[-1]), plain_pass(network, image)

    def run() -> None:
        plain()
        for _ in range(classes // at_once):
            for weight in layers:
                torch.ones(at_once, len(weight)) @ weight

    return run


def against_batches(
    network: nn.Module, image: Tensor, rounds: int, clock: Callable[[], float], count: int = 64, batch: int = 16
) -> dict[str, Spread]:
    """Score-CAM and RISE over as many masks, against their passes run plainly: the picture's own, then batches."""
    found = {}
    methods = {"scorecam": get("scorecam")(top=count), "rise": get("rise")(samples=count)}
    kinds: dict[str, dict[str, Any]] = {
        "": {},
        ", channels last": {"memory_format": torch.channels_last},
        ", bfloat16": {"memory_format": torch.contiguous_format, "dtype": torch.bfloat16},
    }
    for kind, change in kinds.items():
        network, image = network.to(**change), image.to(**change)
        plain = plain_pass(network, image.repeat(batch, 1, 1, 1).to(**change))
        first = plain_pass(network, image)
        in_batches = lambda first=first, plain=plain: [first(), *(plain() for _ in range(count // batch))]  # noqa: E731
        for name, method in methods.items():
            run = partial(ll.explain, network, image, 0, method)
            run()
            ratios = [ratio(run, in_batches, clock) for _ in range(rounds)]
            found[f"{name}{kind}, in passes in plain batches of {batch}"] = Spread.of(ratios)
    return found


def peers(method: str, network: nn.Module, image: Tensor) -> Runs:
    """The peers' methods of that name, as their users call them."""
    layer, runs = default_layer(network, image), {}
    for package, names in PEERS.items():
        if method in names:
            made = getattr(importlib.import_module(package), names[method])
            label = f"{method} of {package.partition('.')[0]}"
            runs[label] = partial(_ask_peer, package, made, network, layer, image)
    return runs


def _ask_peer(package: str, made: Any, network: nn.Module, layer: str, image: Tensor) -> None:
    if package == "torchcam.methods":
        with made(network, layer) as extractor:
            extractor(0, network(image))
    elif package == "captum.attr":
        place = [network.get_submodule(layer)] if made.__name__.startswith("Layer") else []
        made(network, *place).attribute(image.clone().requires_grad_(), target=0)
    else:
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with made(network, [network.get_submodule(layer)]) as cam:
            cam(image.clone().requires_grad_(), [ClassifierOutputTarget(0)])
    network.zero_grad()


def peak_memory(run: Callable[[], Any]) -> int:
    """Bytes of tensors that were alive at once, beyond those from before, on the CPU."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    alive = most = 0
    for event in sorted(recorded.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            alive += event.nbytes()
            most = max(most, alive)
    return most


def plain_pass(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    def run() -> Tensor:
        with torch.inference_mode():
            return network(images)

    return run


if __name__ == "__main__":
    main()
