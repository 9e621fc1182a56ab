"""What twenty boxes cost, in forward passes, by processor time: ``python -m benchmarks.detection [NAME...]``."""

from __future__ import annotations

import statistics
import sys
import time
import warnings

import torch
from torchvision.models import detection

import limelight as ll
from limelight.detectors import recognised

NAMES = (
    "fasterrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)
BOXES = 20
ROUNDS = 5


def took(run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def considered(network: torch.nn.Module, x: torch.Tensor) -> list[list[float]]:
    """Boxes among the network's own candidates: a few of every level's, as a photograph's would be."""
    with torch.no_grad():
        groups = recognised(network)(x).groups[0]
    boxes = torch.cat([group.of_class(1)[:: max(1, len(group.boxes) // BOXES)] for group in groups])
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).amin(dim=1) > 1]
    return boxes[torch.linspace(0, len(boxes) - 1, BOXES).long()].tolist()


def measure(name: str) -> tuple[float, float]:
    """One box's and twenty boxes' share of a forward pass: medians of ratios of one round each."""
    torch.manual_seed(0)
    sizes = {} if name.startswith("ssd") else {"min_size": 320, "max_size": 640}
    network = getattr(detection, name)(weights=None, weights_backbone=None, **sizes).eval()
    x = torch.rand(1, 3, 320, 448)
    boxes = considered(network, x)
    one, many = ll.box(boxes[0], 1), ll.each(*(ll.box(box, k + 1) for k, box in enumerate(boxes)))
    ratios: list[tuple[float, float]] = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ll.explain(network, x)  # finds the layers
        for _ in range(ROUNDS):
            plain = took(lambda: network(x))
            ratios.append(tuple(took(lambda t=t: ll.explain(network, x, target=t)) / plain for t in (one, many)))
    return tuple(statistics.median(column) for column in zip(*ratios, strict=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or NAMES:
        one, many = measure(name)
        print(f"{name:32} one box {one:5.2f}   {BOXES} boxes {many:5.2f}", flush=True)
