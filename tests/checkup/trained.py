"""Small networks that have learnt something, in seconds: which colour the blob in a noisy picture has."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 32
CLASSES = 3


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise with one soft blob, away from the border, in one of three channels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=random)
    centres = torch.randint(9, SIDE - 9, (count, 2), generator=random).float()
    grid = torch.arange(SIDE) + 0.5
    down, across = grid - centres[:, :1], grid - centres[:, 1:]
    blob = torch.exp(-(down[:, :, None] ** 2 + across[:, None, :] ** 2) / 18)
    x = 0.4 * torch.randn(count, 3, SIDE, SIDE, generator=random)
    return x + 3 * blob[:, None] * F.one_hot(labels, 3)[:, :, None, None], labels


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16))
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        return self.fc(F.relu(x + self.block(x)).mean((2, 3)))


def plain(classes: int = CLASSES) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(16, classes),
    )


def grouped() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 4),
        nn.GroupNorm(4, 16),
        nn.GELU(),
        nn.Conv2d(16, 16, 3, 1, 1, groups=16),
        nn.Conv2d(16, 32, 1),
        nn.GELU(),
        nn.Conv2d(32, 16, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    )


def transformer() -> nn.Module:
    import timm

    return timm.create_model(
        "vit_tiny_patch16_224", img_size=SIDE, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=CLASSES
    )


MADE = {"plain": plain, "residual": Residual, "grouped": grouped, "one output": lambda: plain(1), "vit": transformer}
STEPS = {"vit": 150}


@cache
def trained(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = MADE[name]()
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), 5e-3 if name != "vit" else 2e-3, weight_decay=1e-2)
    for step in range(STEPS.get(name, 120)):
        x, y = pictures(48, seed=step)
        scores = network(x)
        if scores.shape[1] == 1:
            loss = F.binary_cross_entropy_with_logits(scores[:, 0], (y == 0).float())
        else:
            loss = F.cross_entropy(scores, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()
