"""Pictures of which all is known: rice, beans, coins and leaves on tables, a mask for each, and captions of them.

One kind or two lie on a picture, one to three of each. A picture is the same scene at any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from limelight.data.grains import draw, plan
from limelight.data.grains.things import CLUTTER, GRAINS, Thing

KINDS = ("rice", "beans", "coin", "leaf")
MOST = 3
LONGEST = 0.3
"""Of a picture's width: what a ninth of the table has room for."""
PARTS = {"learning": range(480), "development": range(480, 640), "test": range(10_000, 10_160)}
"""Seeds of the scenes to learn from, of those that everything is chosen on, and of those for a last look only."""
NUMBERS = ("one", "two", "three")
NOUNS = {"rice": 0, "bean": 1, "beans": 1, "coin": 2, "coins": 2, "leaf": 3, "leaves": 3}
"""The words for each kind; rice isn't counted."""
WORDS = ("<end>", "and", *NUMBERS, *NOUNS)
LENGTH = 6
"""Words of the longest caption, with its end."""


@dataclass(frozen=True)
class Scenes:
    """Pictures and what lies on them.

    Attributes:
        images: ``(n, 3, side, side)`` from 0 to 1.
        things: ``(n, side, side)``: 0 is the table, i the i-th thing.
        kinds: for each picture the kind of its i-th thing.
        order: for each picture the kinds on it in the order in which its caption names them.
    """

    images: Tensor
    things: Tensor
    kinds: list[list[int]]
    order: list[list[int]]

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, some: Tensor) -> Scenes:
        """Those at these numbers, or where this is true."""
        numbers = torch.arange(len(self))[some].tolist()
        kinds, order = ([of[i] for i in numbers] for of in (self.kinds, self.order))
        return Scenes(self.images[some], self.things[some], kinds, order)

    def counts(self) -> Tensor:
        """How many of each kind ``(n, KINDS)``."""
        return torch.tensor([[own.count(k) for k in range(len(KINDS))] for own in self.kinds])

    def mixed(self) -> Scenes:
        """The pictures of two kinds, on which it can be told which was looked at."""
        return self[(self.counts() > 0).sum(1) > 1]

    def labels(self) -> Tensor:
        """For each pixel 0 for the table and one more than the number of the kind ``(n, side, side)``."""
        table = torch.zeros(len(self), 1 + max(map(len, self.kinds)), dtype=torch.long)
        for i, own in enumerate(self.kinds):
            table[i, 1 : 1 + len(own)] = 1 + torch.tensor(own)
        return table.gather(1, self.things.flatten(1)).view_as(self.things)

    def boxes(self) -> list[Tensor]:
        """For each picture the rows (kind, x0, y0, x1, y1) of what can be seen of its things."""
        found = []
        for things, own in zip(self.things, self.kinds, strict=True):
            rows = [torch.zeros(0, 5)]
            for number, kind in enumerate(own, 1):
                y, x = torch.nonzero(things == number, as_tuple=True)
                if len(x):
                    rows.append(torch.tensor([[kind, x.min(), y.min(), x.max() + 1, y.max() + 1]]).float())
            found.append(torch.cat(rows))
        return found

    def density(self, kind: int, cells: int, wide: float = 1.5) -> Tensor:
        """How many of a kind lie in each of ``(n, cells, cells)``: each is 1 in all, a bump some cells ``wide``."""
        found, place = torch.zeros(len(self), cells, cells), (torch.arange(cells) + 0.5) / cells
        for i, own in enumerate(self.kinds):
            for number, its in enumerate(own, 1):
                where = torch.nonzero(self.things[i] == number)
                if its == kind and len(where):
                    middle = (where.float().mean(0) + 0.5) / self.things.shape[1]
                    down, right = (-((place[None] - middle[:, None]) * cells / wide).square() / 2).exp()
                    found[i] += down[:, None] * right / down.sum() / right.sum()
        return found

    def captions(self) -> Tensor:
        """What each shows, as words' numbers ``(n, LENGTH)``."""
        return torch.stack([caption(own, now) for own, now in zip(self.counts().tolist(), self.order, strict=True)])


def caption(counts: Sequence[int], order: Sequence[int]) -> Tensor:
    """ "two beans and rice <end>", in words' numbers ``(LENGTH,)``."""
    said: list[str] = []
    for kind in order:
        one, several = ([word for word, its in NOUNS.items() if its == kind] * 2)[:2]
        count = counts[kind]
        said += ["and"] * bool(said) + ["rice"] * (kind == 0)
        said += [NUMBERS[count - 1], one if count == 1 else several] * (kind > 0)
    return torch.tensor([WORDS.index(word) for word in said] + [0] * (LENGTH - len(said)))


@cache
def scenes(side: int, part: str) -> Scenes:
    """Those of a part, one of :data:`PARTS`, ``side`` pixels wide."""
    drawn = [_scene(seed, side) for seed in PARTS[part]]
    images, things, kinds, order = zip(*drawn, strict=True)
    pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return Scenes(pictures, torch.from_numpy(np.stack(things)).long(), list(kinds), list(order))


def _scene(seed: int, side: int) -> tuple[np.ndarray, np.ndarray, list[int], list[int]]:
    rng = np.random.default_rng(seed)
    table = plan(seed, KINDS[:2])
    order = rng.permutation(len(KINDS))[: 1 + seed % 2].tolist()
    things = [thing for kind in order for thing in _some(KINDS[kind], rng, list(table.families))]
    placed = []
    for thing, place in zip(things, rng.permutation(9), strict=False):
        middle = (np.array(divmod(int(place), 3)) - 1) * 0.3 + rng.uniform(-0.05, 0.05, 2)
        x, y = table.camera.to_table(middle[0], middle[1])
        placed.append(replace(thing, x=float(x), y=float(y), angle=rng.uniform(0, 2 * np.pi)))
    scene = draw(replace(table, things=tuple(placed)), side)
    return scene.image, scene.instances, [KINDS.index(thing.kind) for thing in placed], order


def _some(kind: str, rng: np.random.Generator, families: list[str]) -> list[Thing]:
    """One to three of a kind; grains of one bag."""
    grain = GRAINS[kind](rng, rng.uniform(0.15, 0.27), families) if kind in GRAINS else CLUTTER[kind]
    some = [grain(rng) for _ in range(rng.integers(1, MOST + 1))]
    return [replace(thing, length=min(thing.length, LONGEST)) for thing in some]
