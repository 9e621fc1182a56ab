"""Small transformers, one for each way their tokens can lie."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 5
WIDE = 12


class Block(nn.Module):
    """Attention and an MLP beside a residual stream, as in Dosovitskiy et al. 2020."""

    def __init__(self, batch_first: bool = True):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDE)
        self.attn = nn.MultiheadAttention(WIDE, 2, batch_first=batch_first)
        self.norm2 = nn.LayerNorm(WIDE)
        self.mlp = nn.Sequential(nn.Linear(WIDE, 2 * WIDE), nn.GELU(), nn.Linear(2 * WIDE, WIDE))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Tokens(nn.Module):
    """A transformer whose extra tokens stand before and after the patches; the first extra one is read, or the mean."""

    def __init__(
        self,
        before: int = 1,
        after: int = 0,
        patch: int = 4,
        batch_first: bool = True,
        pooled: bool = False,
        depth: int = 3,
    ):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, WIDE, patch, patch)
        self.extra = nn.Parameter(torch.randn(1, before + after, WIDE))
        self.before = before
        self.after = after
        self.batch_first = batch_first
        self.pooled = pooled
        self.blocks = nn.Sequential(*(Block(batch_first) for _ in range(depth)))
        self.norm = nn.LayerNorm(WIDE)
        self.head = nn.Linear(WIDE, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        where = torch.linspace(-1, 1, x.shape[2] * x.shape[3]).view(1, 1, *x.shape[2:])
        x = (x + where).flatten(2).mT
        extra = self.extra.expand(len(x), -1, -1)
        x = torch.cat([extra[:, : self.before], x, extra[:, self.before :]], dim=1)
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.norm(self.blocks(x))
        x = x if self.batch_first else x.transpose(0, 1)
        if self.pooled or not self.before + self.after:
            return self.head(x[:, self.before : x.shape[1] - self.after].mean(dim=1))
        return self.head(x[:, 0 if self.before else -1])


class WindowBlock(nn.Module):
    """Attention within windows of a channels-last map, shifted or not (Liu et al. 2021)."""

    def __init__(self, window: int, shift: int = 0):
        super().__init__()
        self.window = window
        self.shift = shift
        self.norm = nn.LayerNorm(WIDE)
        self.attn = Block()

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        n = self.window
        y = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2)) if self.shift else self.norm(x)
        y = y.view(b, h // n, n, w // n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, n * n, c)
        y = self.attn(y)
        y = y.view(b, h // n, w // n, n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return x + (torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y)


class ChannelsLast(nn.Module):
    """A Swin-like network: maps with the channels last, windows inside, pooled at the end."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, WIDE, 4, 4)
        self.blocks = nn.Sequential(WindowBlock(2), WindowBlock(2, shift=1))
        self.norm = nn.LayerNorm(WIDE)
        self.head = nn.Linear(WIDE, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        return self.head(self.norm(self.blocks(x)).mean(dim=(1, 2)))


class AsManyChannels(nn.Module):
    """Maps with as many channels as rows and columns, so that a shape alone can't say which is which."""

    def __init__(self, last: bool):
        super().__init__()
        self.last = last
        self.stem = nn.Conv2d(3, 6, 4, 4)
        self.mix = _Mix(last)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.mix(x.permute(0, 2, 3, 1) if self.last else x)
        return self.head(x.mean(dim=(1, 2) if self.last else (2, 3)))


class _Mix(nn.Module):
    """A step that has no module of its own kind inside, and does not say where its channels are."""

    def __init__(self, last: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight if self.last else F.conv2d(x, self.weight[:, :, None, None]))


class Signal(nn.Module):
    """Convolutions over time."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(2, 8, 5, 2, 2), nn.ReLU(), nn.Conv1d(8, 8, 5, 2, 2), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)
        nn.init.uniform_(self.head.weight, 0, 1)  # something speaks for every class

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=2))


class Volume(nn.Module):
    """Convolutions over depth, height and width."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv3d(8, 8, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)
        nn.init.uniform_(self.head.weight, 0, 1)  # something speaks for every class

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(dim=(2, 3, 4)))
