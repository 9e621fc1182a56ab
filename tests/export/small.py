"""A network of a few layers that has what is hard to export: strides, in-place operations, pools, groups."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES, SIDE = 5, 24
EARLY, LATE = "early", "late"


class Small(nn.Module):
    """Layers ``early``, before strides and a max-pooling, and ``late``, before an average pooling to 2 x 2 bins."""

    def __init__(self):
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(inplace=True))
        self.pool = nn.MaxPool2d(2)
        self.down = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4), nn.ReLU(inplace=True))
        self.late = nn.Sequential(nn.Conv2d(8, 12, 3, padding=2), nn.Hardswish(inplace=True))
        self.bins = nn.AdaptiveAvgPool2d((2, 3))
        self.fc = nn.Linear(12 * 6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(self.pool(self.early(x)))
        x = self.late(x)
        x += 0.5
        return self.fc(self.bins(x).flatten(1))


def small() -> Small:
    """The same network each time, alive."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Small()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return network.eval()


def images(count: int, seed: int = 0) -> Tensor:
    """Images of noise."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
