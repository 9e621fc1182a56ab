"""Networks that read evidence in the cells of a published body: its features are computed once, the heads learn in seconds.

Each is whole, from picture to answer, and is explained as such: the body's first five stages, shown the pictures at
twice their size (28 x 28 cells), evidence of several sorts in each cell, never negative, and what is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.energy import CHANNELS, SIDE, STRONGEST, first_stages, published
from benchmarks.scenes import LENGTH, WORDS, Scenes, scenes

DRAWN = SIDE // 2
CELLS = SIDE // 16


def shown(images: Tensor) -> Tensor:
    """Pictures from 0 to 1 as the body takes them ``(n, 3, SIDE, SIDE)``."""
    preprocessing = published(()).preprocessing
    assert preprocessing is not None
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (preprocessing.mean, preprocessing.std))
    return (F.interpolate(images, SIDE, mode="bilinear", antialias=True) - mean) / std


@cache
def body() -> nn.Sequential:
    """EfficientNet-Lite0's first five stages, frozen, and each channel brought to one size over the scenes."""
    stages = first_stages(published(()).network)
    size = nn.BatchNorm2d(CHANNELS, affine=False, momentum=None)
    with torch.inference_mode():
        for batch in scenes(DRAWN)[0].images[::8].split(4):
            size(stages(shown(batch)))
    return nn.Sequential(stages, size).eval().requires_grad_(False)


@cache
def features() -> tuple[Tensor, Tensor]:
    """What the body gives for the scenes to learn from and for those held out, in half precision."""
    with torch.inference_mode():
        return tuple(torch.cat([body()(shown(b)).half() for b in some.images.split(4)]) for some in scenes(DRAWN))


class Evidence(nn.Module):
    """The body, evidence in its cells, and an answer that a kind of its own reads from it."""

    def __init__(self, sorts: int):
        super().__init__()
        self.body = body()
        self.evidence = nn.Sequential(nn.Conv2d(CHANNELS, sorts, 1), nn.ReLU())

    def forward(self, x: Tensor, *question: Tensor) -> Tensor:
        """Pictures ``(n, 3, SIDE, SIDE)`` -> what :meth:`read` gives."""
        return self.of(self.body(x), *question)

    def of(self, features: Tensor, *question: Tensor) -> Tensor:
        """The answer from what the body gave ``(n, CHANNELS, CELLS, CELLS)``."""
        return self.read(self.evidence(features.float()), *question)

    def read(self, evidence: Tensor, *question: Tensor) -> Tensor:
        """The answer from the evidence ``(n, sorts, CELLS, CELLS)``."""
        raise NotImplementedError


def strongest(evidence: Tensor) -> Tensor:
    """The mean of each sort's strongest cells ``(n, sorts)``: as many as a thing or two take up."""
    return evidence.flatten(2).topk(STRONGEST, dim=2).values.mean(2)


class Counter(Evidence):
    """How many beans there are: the sum of their density (Lempitsky and Zisserman 2010)."""

    def __init__(self):
        super().__init__(32)
        self.density = nn.Sequential(nn.Conv2d(32, 1, 3, padding=1), nn.Softplus())
        nn.init.constant_(self.density[0].bias, -7.0)

    def cells(self, evidence: Tensor) -> Tensor:
        """(n, CELLS, CELLS)"""
        return self.density(evidence)[:, 0]

    def read(self, evidence):
        return self.cells(evidence).sum((1, 2))


class Siamese(Evidence):
    """An embedding in which pictures of the same kind lie close."""

    def __init__(self):
        super().__init__(16)

    def read(self, evidence):
        return strongest(evidence)


class Captioner(Evidence):
    """A CNN and an LSTM, as in Grad-CAM's captioning: "two beans and rice"."""

    def __init__(self, sorts: int = 32, wide: int = 128):
        super().__init__(sorts)
        self.words, self.cell, self.out = (
            nn.Embedding(len(WORDS), wide),
            nn.LSTMCell(2 * sorts + wide, wide),
            nn.Linear(wide, len(WORDS)),
        )

    def read(self, evidence, *given):
        seen = torch.cat([strongest(evidence), evidence.mean((2, 3)) * 10], 1)
        word, state, said = self.words(torch.zeros(len(seen), dtype=torch.long, device=seen.device)), None, []
        for k in range(LENGTH):
            state = self.cell(torch.cat([seen, word], 1), state)
            said.append(self.out(state[0]))
            word = self.words(given[0][:, k] if given else said[-1].argmax(1))
        return torch.stack(said, dim=1)


class Answerer(Evidence):
    """A picture and a question in words, "are there beans"; no or yes."""

    def __init__(self, sorts: int = 32):
        super().__init__(sorts)
        self.words, self.out = nn.EmbeddingBag(len(ASKED), sorts, mode="sum"), nn.Linear(sorts, 1, bias=False)

    def read(self, evidence, question):
        return self.out(strongest(evidence) * self.words(question))


ASKED = ("is", "are", "there", "a", "rice", "beans", "coin", "leaf")
QUESTIONS = ("is there rice", "are there beans", "is there a coin", "is there a leaf")
