"""What each method costs, in plain forward passes of the same network, and how much memory it takes.

    python -m benchmarks.methods_cost [--networks resnet18 ...] [--methods gradcam,ablationcam,...] [--every]

One image, the network's default layer, random weights. Each round times a plain forward right before each method, and
each time is divided by that forward's; reported are medians and quartiles of these ratios. The first call, which also
records the head where a method replays it, stands beside. ``--every`` times the maps of all classes of one image.
``--peers`` times pytorch-grad-cam's and torchcam's methods of the same name, once: theirs can take minutes.
``--batches`` compares Score-CAM with its forward passes run in plain batches.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import limelight as ll
from benchmarks.cost import CLOCKS
from limelight.methods.registry import REGISTRY, get
from tests.architectures import SIZES, build

NETWORKS = ("resnet18", "resnet50", "mobilenet_v3_large", "vgg16", "vit_b_16")
PEERS = {
    "pytorch_grad_cam": {"ablationcam": "AblationCAM", "scorecam": "ScoreCAM", "gradcam": "GradCAM"},
    "torchcam.methods": {"scorecam": "ScoreCAM", "gradcam": "GradCAM", "sscam": "SSCAM", "iscam": "ISCAM"},
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.methods_cost", description="Time methods, in forwards."
    )
    options.add_argument("--networks", nargs="+", default=list(NETWORKS))
    options.add_argument("--methods", default=",".join(REGISTRY))
    options.add_argument("--every", action="store_true", help="the maps of all classes of one image")
    options.add_argument("--peers", action="store_true")
    options.add_argument("--batches", action="store_true", help="compare Score-CAM with its passes in plain batches")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--clock", choices=list(CLOCKS), default="wall")
    given = options.parse_args(arguments)
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")  # random weights make maps of zeros, which limelight tells
    clock = CLOCKS[given.clock]
    print("network, method: median ratio to a plain forward (quartiles); first call; peak memory, plain's in brackets")
    for name in given.networks:
        network, size = build(name), SIZES.get(name, 224)
        image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
        plain = _plain(network, image)
        plain()
        base = peak_memory(plain)
        for method in given.methods.split(","):
            chosen = get(method)
            target: Any = ll.top(1000) if given.every and chosen.per_target else 0
            runs = {f"limelight {method}": partial(ll.explain, network, image, target, chosen)}
            if given.peers and not given.every:
                runs |= peers(method, network, image)
            for label, run in runs.items():
                print(f"{name}, {label}: {describe(run, plain, given.rounds, clock)}", end="")
                print(f"; {peak_memory(run) / 2**20:.0f} MiB ({base / 2**20:.0f})", flush=True)
        if given.batches:
            against_batches(name, network, image, given.rounds, clock)


def describe(run: Callable[[], Any], plain: Callable[[], Any], rounds: int, clock: Callable[[], float]) -> str:
    try:
        first = ratio(run, plain, clock)
    except ll.errors.LimelightError as error:
        return f"not here ({str(error)[:80]})"
    rounds = max(1, min(rounds, round(600 / first)))
    low, middle, high = quartiles([ratio(run, plain, clock) for _ in range(rounds)])
    return f"{middle:.2f} ({low:.2f} to {high:.2f}); first {first:.1f}"


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(run: Callable[[], Any], plain: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    plain()
    between = clock()
    run()
    return (clock() - between) / (between - start)


def against_batches(
    name: str,
    network: nn.Module,
    image: Tensor,
    rounds: int,
    clock: Callable[[], float],
    top: int = 64,
    batch: int = 16,
) -> None:
    """Score-CAM over as many channels, against the same number of images in plain batches."""
    many = image.repeat(batch, 1, 1, 1)
    plain = _plain(network, many)
    score_cam = lambda: ll.explain(network, image, 0, ll.methods.ScoreCAM(top=top))  # noqa: E731
    score_cam()
    found = []
    for _ in range(rounds):
        start = clock()
        for _ in range(top // batch):
            plain()
        between = clock()
        score_cam()
        found.append((clock() - between) / (between - start))
    low, middle, high = quartiles(found)
    title = f"scorecam of {top} channels / {top} images in batches of {batch}"
    print(f"{name}, {title}: {middle:.3f} ({low:.3f} to {high:.3f})")


def peers(method: str, network: nn.Module, image: Tensor) -> dict[str, Callable[[], Any]]:
    """The peers' methods of that name, as their users call them."""
    import importlib

    from limelight.grid import default_layer

    layer, runs = default_layer(network, image), {}
    for package, names in PEERS.items():
        if method in names:
            made = getattr(importlib.import_module(package), names[method])
            runs[f"{package.partition('.')[0]} {method}"] = lambda made=made: _ask_peer(made, network, layer, image)
    return runs


def _ask_peer(made: Any, network: nn.Module, layer: str, image: Tensor) -> None:
    if made.__module__.startswith("torchcam"):
        with made(network, layer) as extractor:
            extractor(0, network(image))
        return
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


def _plain(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    def run() -> Tensor:
        with torch.inference_mode():
            return network(images)

    return run


if __name__ == "__main__":
    main()
