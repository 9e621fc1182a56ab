"""A small U-Net and a one-shot detector that learn from nothing, on scenes of 64 x 64 pixels: 16 x 16 cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.scenes import KINDS

Net = TypeVar("Net", bound=nn.Module)
SIDE = 64


def standard(images: Tensor) -> Tensor:
    """Pictures whose mean is zero in each channel, and whose size is one."""
    return (images - images.mean((2, 3), keepdim=True)) / images.std((1, 2, 3), keepdim=True)


def block(before: int, after: int, stride: int) -> list[nn.Module]:
    """A convolution, what normalises it, and what is positive of it."""
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


def body(channels: int = 3) -> nn.Sequential:
    """A grid of 16 x 16 cells of a picture of 64 x 64."""
    layers: list[nn.Module] = []
    for before, after, stride in ((channels, 24, 2), (24, 32, 1), (32, 48, 2), (48, 48, 1)):
        layers += block(before, after, stride)
    return nn.Sequential(*layers)


class Segmenter(nn.Module):
    """A small U-Net: the finer features join on the way up."""

    def __init__(self):
        super().__init__()
        whole = body()
        self.down, self.deep = whole[:6], whole[6:]
        self.up = nn.Sequential(
            nn.Conv2d(80, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 1 + len(KINDS), 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down(x)
        deep = F.interpolate(self.deep(fine), scale_factor=2.0, mode="nearest")
        return F.interpolate(self.up(torch.cat([fine, deep], 1)), scale_factor=2.0, mode="bilinear")


class Detector(nn.Module):
    """One shot: every cell says which kind it sees, and a box around itself."""

    def __init__(self):
        super().__init__()
        self.body, self.head = body(), nn.Conv2d(48, 4 + len(KINDS), 3, padding=1)

    def raw(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).flatten(2).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        given = self.raw(x)
        return torch.cat([centres(x) + given[..., :2] * 4, given[..., 2:4].exp() * 8, given[..., 4:].sigmoid()], -1)


def centres(x: Tensor) -> Tensor:
    """The cells' centres in pixels ``(1, cells, 2)``: x, y."""
    place = torch.arange(SIDE // 4, device=x.device) * 4 + 2.0
    return torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=-1).view(1, -1, 2)


def detection_loss(network: Detector, images: Tensor, own_boxes: Sequence[Tensor]) -> Tensor:
    """Where each kind is, and the boxes of the cells that have one."""
    given, cells = network.raw(images), centres(images)[0]
    objects, boxes, inside = torch.zeros(*given.shape[:2], len(KINDS)), torch.zeros(*given.shape[:2], 4), []
    weight = torch.ones(*given.shape[:2], 1)
    for i, own in enumerate(own_boxes):
        for kind, x0, y0, x1, y1 in own.tolist():
            middle, size = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2]), torch.tensor([x1 - x0, y1 - y0])
            far = ((cells - middle) / 4).abs().amax(1)
            near = far <= max(0.5, float(far.min()))
            objects[i, near, int(kind)] = 1
            boxes[i, near] = torch.cat([(middle - cells[near]) / 4, (size / 8).log().expand(int(near.sum()), 2)], 1)
            weight[i, (far <= 1.5) & ~near] = 0.2
            inside.append((i, near))
    hot = objects.sum(2) > 0
    classes = F.binary_cross_entropy_with_logits(
        given[..., 4:], objects, weight.expand_as(objects), pos_weight=torch.tensor(8.0)
    )
    return classes * 5 + F.smooth_l1_loss(given[hot][:, :4], boxes[hot])


def fitted(network: Net, loss: Callable[[Net, Tensor], Tensor], steps: int, count: int) -> Net:
    """The network after some steps of AdamW with one cycle."""
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    network.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss(network, torch.randint(0, count, (32,))).backward()
        optimiser.step()
        schedule.step()
    return network.eval()
