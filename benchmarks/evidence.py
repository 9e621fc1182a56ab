"""Networks that read evidence in the cells of a published body, whose features are computed once.

Each is whole, from picture to answer, and is explained as such: the body's first five stages, shown the pictures at
twice their size (28 x 28 cells), evidence of several sorts in each cell, never negative, and what is made of it. Only
what comes after the body is learnt, from its kept features, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from benchmarks.scenes import LENGTH, WORDS, scenes
from limelight.models import Model

CHANNELS, SIDE = 672, 448
DRAWN = SIDE // 2
CELLS = SIDE // 16
STRONGEST = 6
"""Cells of 784 by whose mean each sort of evidence is told: a grain of rice."""
BATCH, RATE, DECAY = 20, 4e-3, 0.05
ASKED = ("is", "are", "there", "a", "rice", "beans", "coin", "leaf")


@cache
def base() -> Model:
    """EfficientNet-Lite0's first five stages, with its published weights."""
    return ll.load("efficientnet_lite0_fine")


def shown(images: Tensor) -> Tensor:
    """Pictures from 0 to 1 as the body takes them ``(n, 3, SIDE, SIDE)``."""
    preprocessing = base().preprocessing
    assert preprocessing is not None
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (preprocessing.mean, preprocessing.std))
    return (F.interpolate(images, SIDE, mode="bilinear") - mean) / std


@cache
def body() -> nn.Sequential:
    """That body, and each channel brought to one size; frozen."""
    stages, size = base().network.get_submodule("body").eval(), nn.BatchNorm2d(CHANNELS, affine=False, momentum=None)
    with torch.no_grad():
        for batch in scenes(DRAWN, "learning").images[::8].split(4):
            size(stages(shown(batch)))
    return nn.Sequential(stages, size).eval().requires_grad_(False)


@cache
def features(part: str) -> Tensor:
    """What the body gives for a part's scenes ``(n, CHANNELS, CELLS, CELLS)``, in half precision: 1 MB each."""
    batches = scenes(DRAWN, part).images.split(4)
    with torch.no_grad():
        return torch.cat([body()(shown(batch)).half() for batch in batches])


class Evidence(nn.Module):
    """The body, evidence in its cells, and an answer that each network reads from it in its own way.

    Attributes:
        dropped: how much of the body's channels is left out while learning, another choice for each batch.
        sparse: what a cell's evidence costs while learning.
    """

    dropped, sparse = 0.5, 0.5

    def __init__(self, sorts: int):
        super().__init__()
        self.body = body()
        self.sorts = nn.Conv2d(CHANNELS, sorts, 1)
        self.evidence = nn.Sequential(self.sorts, nn.ReLU())

    def forward(self, x: Tensor, *question: Tensor) -> Tensor:
        """Pictures ``(n, 3, SIDE, SIDE)`` to what :meth:`read` gives."""
        return self.read(self.evidence(self.body(x)), *question)

    def read(self, evidence: Tensor, *question: Tensor) -> Tensor:
        """The answer from the evidence ``(n, sorts, CELLS, CELLS)``."""
        raise NotImplementedError

    @torch.no_grad()
    def answers(self, part: str, *question: Tensor) -> Tensor:
        """What is said of a part's scenes."""
        batches = [given.split(40) for given in (features(part), *question)]
        return torch.cat([self.read(self.evidence(f.float()), *rest) for f, *rest in zip(*batches, strict=True)])


def strongest(evidence: Tensor) -> Tensor:
    """The mean of each sort's strongest cells ``(n, sorts)``."""
    return evidence.flatten(2).topk(STRONGEST, dim=2).values.mean(2)


class Counter(Evidence):
    """How many there are: the sum of their density (Lempitsky and Zisserman 2010), zero where there is no evidence."""

    dropped, sparse = 0.0, 0.0  # the likelihood has a price on density already

    def __init__(self):
        super().__init__(32)
        self.weight = nn.Parameter(torch.rand(1, 32, 3, 3) * 2e-3 / 32)  # it starts at about one in a picture

    def density(self, evidence: Tensor) -> Tensor:
        """How many lie in each cell ``(n, CELLS, CELLS)``."""
        return F.conv2d(evidence, self.weight.abs(), padding=1)[:, 0]

    def read(self, evidence: Tensor, *question: Tensor) -> Tensor:
        return self.density(evidence).sum((1, 2))


class Siamese(Evidence):
    """An embedding in which pictures of one kind lie close, and far from those of another."""

    def __init__(self):
        super().__init__(16)

    def read(self, evidence: Tensor, *question: Tensor) -> Tensor:
        return strongest(evidence)


class Captioner(Evidence):
    """A CNN and an LSTM, as in Grad-CAM's captioning: "two beans and rice"."""

    def __init__(self, sorts: int = 32, wide: int = 128):
        super().__init__(sorts)
        self.words, self.out = nn.Embedding(len(WORDS), wide), nn.Linear(wide, len(WORDS))
        self.cell = nn.LSTMCell(2 * sorts + wide, wide)

    def read(self, evidence: Tensor, *question: Tensor) -> Tensor:
        """Word scores ``(n, LENGTH, words)``, after the words given, or else after its own."""
        seen = torch.cat([strongest(evidence), evidence.mean((2, 3)) * 10], 1)
        word, state, said = torch.zeros(len(seen), dtype=torch.long, device=seen.device), None, []
        for k in range(LENGTH):
            state = self.cell(torch.cat([seen, self.words(word)], 1), state)
            said.append(self.out(state[0]))
            word = question[0][:, k] if question else said[-1].argmax(1)
        return torch.stack(said, dim=1)


class Answerer(Evidence):
    """A picture and a question's words; one score, over zero for a yes ``(n, 1)``.

    It has no offset: what is in every picture would have to speak for a yes and for a no.
    """

    def __init__(self, sorts: int = 32):
        super().__init__(sorts)
        self.words, self.out = nn.EmbeddingBag(len(ASKED), sorts, mode="sum"), nn.Linear(sorts, 1, bias=False)

    def read(self, evidence: Tensor, *question: Tensor) -> Tensor:
        return self.out(strongest(evidence) * self.words(question[0]))


def asked(kind: int, count: int) -> Tensor:
    """The question whether there is some of a kind, in words' numbers ``(count, 4)``."""
    words = ["is there rice there", "are there beans there", "is there a coin", "is there a leaf"][kind].split()
    return torch.tensor([[ASKED.index(word) for word in words]]).expand(count, -1)


def learnt(
    network: Evidence,
    loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    among: Tensor | None = None,
) -> Evidence:
    """The network after some steps of AdamW with one cycle.

    Args:
        network: what learns; its body doesn't.
        loss: of the evidence for some scenes, and their numbers.
        steps: how many.
        among: the numbers of the scenes to learn from; None for all.
    """
    kept = features("learning")
    numbers = torch.arange(len(kept)) if among is None else among
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(steps):
        i = numbers[torch.randint(0, len(numbers), (BATCH,))]
        left = torch.rand(CHANNELS) >= network.dropped
        seen = kept[i][:, left].float() / (1 - network.dropped)
        evidence = F.relu(F.conv2d(seen, network.sorts.weight[:, left], network.sorts.bias))
        optimiser.zero_grad()
        (loss(evidence, i) + network.sparse * evidence.mean()).backward()
        optimiser.step()
        schedule.step()
    return network.eval()
