"""Networks of every kind, small but trained for real, asked where they looked: ``python -m benchmarks.trained``.

What is on the pictures is known: scenes of a few beans and grains of rice with a mask for each, a signal with an event,
a volume with a lesion. Told is how much of each map lies on what was asked about, beside the share of the area it has,
and beside what lies on the *other* objects.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from limelight.data.grains import draw, plan

SIDE = 64
KINDS = ("rice", "beans")
MOST = 3
WORDS = ("<end>", "no", "one", "two", "three", "rice", "beans", "and")
SCENES, HELD_OUT = 480, 60
METHOD = "hirescam"


# ---- what is on the pictures


@dataclass(frozen=True)
class Scenes:
    """Pictures and what lies on them.

    Attributes:
        images: ``(n, 3, side, side)``, normalised.
        kinds: ``(n, side, side)``, 0 table, 1 rice, 2 beans.
        counts: ``(n, 2)``, how many of either.
        boxes: for each picture the rows (kind, x0, y0, x1, y1).
    """

    images: Tensor
    kinds: Tensor
    counts: Tensor
    boxes: list[Tensor]

    def __getitem__(self, some: Tensor | slice) -> Scenes:
        numbers = torch.arange(len(self.images))[some].tolist()
        return Scenes(self.images[some], self.kinds[some], self.counts[some], [self.boxes[i] for i in numbers])


def _scene(seed: int) -> tuple[np.ndarray, np.ndarray, list[list[float]]]:
    rng = np.random.default_rng(seed)
    own = plan(seed, KINDS)
    wanted = {kind: int(rng.integers(0, MOST + 1)) for kind in KINDS}
    if not any(wanted.values()):
        wanted[KINDS[seed % 2]] = 1
    cells = rng.permutation(9)[: sum(wanted.values())]
    things = []
    for kind, count in wanted.items():
        pool = [thing for thing in own.things if thing.kind == kind]
        pool += [thing for s in range(1, 9) for thing in plan(seed + 100_000 * s, KINDS).things if thing.kind == kind]
        things += pool[:count]
    placed = []
    for thing, cell in zip(things, cells, strict=True):
        place = (np.array(divmod(int(cell), 3)) - 1) * 0.3 + rng.uniform(-0.05, 0.05, 2)
        x, y = own.camera.to_table(place[0], place[1])
        placed.append(replace(thing, x=float(x), y=float(y)))
    scene = draw(replace(own, things=tuple(placed)), SIDE)
    kinds = np.zeros(scene.instances.shape, dtype=np.int64)
    boxes = []
    for number, thing in enumerate(scene.parameters["objects"], 1):
        kinds[scene.instances == number] = 1 + KINDS.index(thing["kind"])
        if thing["box"] is not None:
            boxes.append([KINDS.index(thing["kind"]), *map(float, thing["box"])])
    return scene.image, kinds, boxes


@cache
def scenes() -> tuple[Scenes, Scenes]:
    """Those to learn from, and those held out."""
    found = [_scene(seed) for seed in range(SCENES + HELD_OUT)]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image, _, _ in found])
    images = (images - images.mean((2, 3), keepdim=True)) / images.std((1, 2, 3), keepdim=True)
    boxes = [torch.tensor(own).reshape(-1, 5) for _, _, own in found]
    counts = torch.stack([torch.stack([(own[:, 0] == k).sum() for k in range(2)]) for own in boxes])
    whole = Scenes(images, torch.stack([torch.from_numpy(kinds) for _, kinds, _ in found]), counts, boxes)
    return whole[slice(0, SCENES)], whole[slice(SCENES, None)]


# ---- networks


def body(channels: int = 3) -> nn.Sequential:
    """A grid of 16 x 16 cells of a picture of 64 x 64."""
    layers: list[nn.Module] = []
    for before, after, stride in ((channels, 24, 2), (24, 32, 1), (32, 48, 2), (48, 48, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class Segmenter(nn.Module):
    """A small U-Net: the finer features join on the way up."""

    def __init__(self):
        super().__init__()
        whole = body()
        self.down, self.deep = whole[:6], whole[6:]
        self.up = nn.Sequential(nn.Conv2d(80, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 3, 1))

    def forward(self, x):
        fine = self.down(x)
        deep = F.interpolate(self.deep(fine), scale_factor=2.0, mode="nearest")
        return F.interpolate(self.up(torch.cat([fine, deep], 1)), scale_factor=2.0, mode="bilinear")


class Detector(nn.Module):
    """One shot: every cell says which kind it sees, and a box around itself."""

    def __init__(self):
        super().__init__()
        self.body, self.head = body(), nn.Conv2d(48, 6, 3, padding=1)

    def raw(self, x):
        return self.head(self.body(x)).flatten(2).transpose(1, 2)

    def forward(self, x):
        given = self.raw(x)
        return torch.cat([centres(x) + given[..., :2] * 4, given[..., 2:4].exp() * 8, given[..., 4:].sigmoid()], -1)


def centres(x: Tensor) -> Tensor:
    """The cells' centres in pixels ``(1, cells, 2)``: x, y."""
    place = torch.arange(SIDE // 4, device=x.device) * 4 + 2.0
    return torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=-1).view(1, -1, 2)


class Counter(nn.Module):
    """How many beans there are: a number."""

    def __init__(self):
        super().__init__()
        self.body, self.head = body(), nn.Conv2d(48, 1, 1)

    def forward(self, x):
        return self.head(self.body(x)).sum((1, 2, 3)) / 16


class Siamese(nn.Module):
    """An embedding in which pictures with the same kinds on them lie close."""

    def __init__(self):
        super().__init__()
        self.body, self.head = body(), nn.Linear(48, 16)

    def forward(self, x):
        return self.head(self.body(x).amax((2, 3)))


class Captioner(nn.Module):
    """A CNN and an LSTM (as in the paper's captioning): "two rice and one beans"."""

    LENGTH = 6

    def __init__(self):
        super().__init__()
        self.body, self.see = body(), nn.Linear(48, 48)
        self.words, self.cell, self.out = nn.Embedding(len(WORDS), 48), nn.LSTMCell(96, 64), nn.Linear(64, len(WORDS))

    def forward(self, x, given=None):
        features = self.body(x)
        seen = self.see(features.mean((2, 3)) * 8).relu()
        word, state, said = self.words(x.new_zeros(len(x), dtype=torch.long)), None, []
        for k in range(self.LENGTH):
            state = self.cell(torch.cat([seen, word], 1), state)
            said.append(self.out(state[0]))
            word = self.words(said[-1].argmax(1) if given is None else given[:, k])
        return torch.stack(said, dim=1)


class Answerer(nn.Module):
    """A picture and a question's number: "is there rice?", "are there beans?"; no or yes."""

    def __init__(self):
        super().__init__()
        self.body, self.questions, self.out = body(), nn.Embedding(2, 48), nn.Linear(48, 2)

    def forward(self, x, question):
        return self.out(self.body(x).amax((2, 3)) * self.questions(question))


def fitted(
    network: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor], steps: int, count: int = SCENES
) -> nn.Module:
    """The network after some steps of AdamW with one cycle."""
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    random = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss(network, torch.randint(0, count, (32,), generator=random)).backward()
        optimiser.step()
        schedule.step()
    return network.eval()


# ---- where maps fall


def share(maps: Tensor, where: Tensor) -> Tensor:
    """How much of each map's sum lies where it should ``(n,)``; NaN for a map of zeros."""
    maps, where = maps.flatten(1), where.flatten(1).to(maps.dtype)
    total = maps.sum(1)
    return torch.where(total > 0, (maps * where).sum(1) / total.clamp(min=1e-12), torch.nan)


def near(where: Tensor, pixels: int = 2) -> Tensor:
    """What is asked about and its outline: half a cell around it, which a map of 16 x 16 can't tell from it."""
    wide = F.max_pool2d(where[:, None].float(), 2 * pixels + 1, 1, pixels)
    return wide[:, 0] > 0


def told(maps: Tensor, where: Tensor, elsewhere: Tensor, **facts: float) -> dict[str, float]:
    """The means over the pictures of one task."""
    onto = share(maps, near(where))
    return {
        **facts,
        "on it": float(onto.nanmean()),
        "on it, to the pixel": float(share(maps, where).nanmean()),
        "on the other kind": float(share(maps, near(elsewhere) & ~near(where)).nanmean()),
        "of the area": float(near(where).float().mean()),
        "maps": int(onto.isfinite().sum()),
    }


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ll.explain(*args, **options)


def mixed(held: Scenes) -> Scenes:
    """The pictures that show both kinds, where it can be told which was looked at."""
    return held[(held.counts > 0).all(1)]


# ---- the tasks


def segmenter() -> dict[str, float]:
    learn, held = scenes()
    network = fitted(Segmenter(), lambda n, i: F.cross_entropy(n(learn.images[i]), learn.kinds[i]), 250)
    both = mixed(held)
    found = quiet(network, both.images, target=ll.region(2, mask=(both.kinds == 2)), method=METHOD, layer="deep")
    right = float((network(held.images).argmax(1) == held.kinds).float().mean())
    return told(found.maps[:, 0], both.kinds == 2, both.kinds == 1, right=right)


def detector() -> dict[str, float]:
    learn, held = scenes()
    network = fitted(Detector(), lambda n, i: _detection_loss(n, learn[i]), 400)
    seen = ll.detector(network, "batch boxes (box classes)")
    maps, right, other, hits, boxes = [], [], [], 0, 0
    for k in range(len(held.images)):
        one = held[torch.tensor([k])]
        for kind, *box in one.boxes[0].tolist():
            boxes += 1
            found = quiet(seen, one.images, target=ll.box(box, int(kind)), method=METHOD, layer="body")
            hits += float(found.probabilities) > 0.5
            x0, y0, x1, y1 = map(int, box)
            inside = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
            inside[:, y0:y1, x0:x1] = True
            maps.append(found.maps[:, 0])
            right.append(inside & (one.kinds > 0))
            other.append((one.kinds > 0) & ~inside)
    return told(torch.cat(maps), torch.cat(right), torch.cat(other), right=hits / boxes)


def _detection_loss(network: nn.Module, some: Scenes) -> Tensor:
    given, cells = network.raw(some.images), centres(some.images)[0]
    objects, boxes, inside = torch.zeros(*given.shape[:2], 2), torch.zeros(*given.shape[:2], 4), []
    weight = torch.ones(*given.shape[:2], 1)
    for i, own in enumerate(some.boxes):
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


def counter() -> dict[str, float]:
    learn, held = scenes()
    network = fitted(Counter(), lambda n, i: F.mse_loss(n(learn.images[i]), learn.counts[i, 1].float()), 400)
    both = mixed(held)
    found = quiet(network, both.images, target=lambda count: count, method=METHOD, layer="body")
    right = float((network(held.images).round() == held.counts[:, 1]).float().mean())
    return told(found.maps[:, 0], both.kinds == 2, both.kinds == 1, right=right)


def siamese() -> dict[str, float]:
    """Alike are pictures with the same kinds on them; both sides' maps, of pairs that share beans alone."""
    learn, held = scenes()
    label = (learn.counts > 0).long() @ torch.tensor([1, 2])

    def loss(network: nn.Module, i: Tensor) -> Tensor:
        own = F.normalize(network(learn.images[i]), dim=1)
        same = (label[i][:, None] == label[i][None]).float()
        return F.binary_cross_entropy_with_logits(own @ own.T * 10 - 5, same)

    network = fitted(Siamese(), loss, 400)
    kinds = (held.counts > 0).long() @ torch.tensor([1, 2])
    alone = held[kinds == 2]
    half = len(alone.images) // 2
    pair = [alone[slice(0, half)], alone[slice(half, 2 * half)]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sides = ll.alike(network, pair[0].images, pair[1].images, method=METHOD, layer="body")
    own = F.normalize(network(held.images), dim=1)
    agree = ((own @ own.T > 0.5) == (kinds[:, None] == kinds[None])).float().mean()
    maps = torch.cat([side.maps[:, 0] for side in sides])
    right = torch.cat([one.kinds == 2 for one in pair])
    return told(maps, right, torch.zeros_like(right), right=float(agree))


def caption(counts: Sequence[int]) -> list[int]:
    """ "two rice and one beans <end>", in words' numbers."""
    said = [[1 + count, 5 + k] for k, count in enumerate(counts) if count]
    flat = said[0] if len(said) == 1 else [*said[0], 7, *said[1]]
    return [*flat, *[0] * (Captioner.LENGTH - len(flat))]


def captioner() -> dict[str, float]:
    """The paper's check: more of a word's map lies on what it names than on the other kind."""
    learn, held = scenes()
    words = torch.tensor([caption(own.tolist()) for own in learn.counts])

    def loss(network: nn.Module, i: Tensor) -> Tensor:
        return F.cross_entropy(network(learn.images[i], words[i]).flatten(0, 1), words[i].flatten())

    network = fitted(Captioner(), loss, 600)
    both = mixed(held)
    truth = torch.tensor([caption(own.tolist()) for own in held.counts])
    right = float((network(held.images).argmax(2) == truth).all(1).float().mean())
    maps, on, off = [], [], []
    for k, word in enumerate(("rice", "beans")):
        given = truth[(held.counts > 0).all(1)]
        found = quiet(
            network, (both.images, given), target=ll.word(WORDS.index(word), at=1 + 3 * k), method=METHOD, layer="body"
        )
        maps.append(found.maps[:, 0])
        on.append(both.kinds == 1 + k)
        off.append(both.kinds == 2 - k)
    return told(torch.cat(maps), torch.cat(on), torch.cat(off), right=right)


def answerer() -> dict[str, float]:
    learn, held = scenes()
    present = (learn.counts > 0).long()

    def loss(network: nn.Module, i: Tensor) -> Tensor:
        asked = torch.cat([torch.zeros_like(i), torch.ones_like(i)])
        return F.cross_entropy(network(learn.images[i].repeat(2, 1, 1, 1), asked), present[i].T.flatten())

    network = fitted(Answerer(), loss, 400)
    both, right, maps, on, off = mixed(held), [], [], [], []
    for k in range(2):
        asked = torch.full((len(held.images),), k)
        right.append((network(held.images, asked).argmax(1) == (held.counts[:, k] > 0)).float().mean())
        found = quiet(network, (both.images, asked[: len(both.images)]), target=1, method=METHOD, layer="body")
        maps.append(found.maps[:, 0])
        on.append(both.kinds == 1 + k)
        off.append(both.kinds == 2 - k)
    return told(torch.cat(maps), torch.cat(on), torch.cat(off), right=float(sum(right) / 2))


def event() -> dict[str, float]:
    """A signal in noise with a chirp that rises, or one that falls, at a place that is known."""
    random = torch.Generator().manual_seed(1)
    count, length, wide = 320, 256, 40
    start = torch.randint(10, length - wide - 10, (count,), generator=random)
    rising = torch.randint(0, 2, (count,), generator=random)
    time = torch.arange(length)[None] - start[:, None]
    inside = (time >= 0) & (time < wide)
    way = torch.where(rising[:, None] == 1, time, wide - time).float()
    x = 0.5 * torch.randn(count, length, generator=random) + inside * torch.sin(way.square() * 0.03) * 2
    x = x[:, None]
    network = nn.Sequential(
        *(
            nn.Conv1d(1, 16, 9, 2, 4),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Conv1d(16, 24, 9, 2, 4),
            nn.BatchNorm1d(24),
            nn.ReLU(),
        ),
        *(nn.Conv1d(24, 24, 5, 1, 2), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(24, 2)),
    )
    return _told_apart(network, x, rising, inside, 250, held=60)


def lesion() -> dict[str, float]:
    """A volume with a bright ball, or a bright cross: which of the two, and where is known."""
    random = torch.Generator().manual_seed(2)
    count, side = 260, 20
    middle = torch.randint(5, side - 5, (count, 3), generator=random)
    kind = torch.randint(0, 2, (count,), generator=random)
    grid = torch.arange(side)
    away = [(grid[None] - middle[:, d, None]).abs() for d in range(3)]
    z, y, x_ = away[0][:, :, None, None], away[1][:, None, :, None], away[2][:, None, None, :]
    ball = (z**2 + y**2 + x_**2) <= 9
    cross = ((z <= 4).long() * (y <= 1) * (x_ <= 1) + (y <= 4).long() * (z <= 1) * (x_ <= 1)) > 0
    where = torch.where(kind[:, None, None, None] == 0, ball, cross)
    x = (torch.randn(count, side, side, side, generator=random) * 0.5 + where * 1.5)[:, None]
    network = nn.Sequential(
        *(
            nn.Conv3d(1, 12, 3, 1, 1),
            nn.BatchNorm3d(12),
            nn.ReLU(),
            nn.Conv3d(12, 24, 3, 2, 1),
            nn.BatchNorm3d(24),
            nn.ReLU(),
        ),
        *(nn.Conv3d(24, 24, 3, 1, 1), nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(24, 2)),
    )
    wide = F.max_pool3d(where[:, None].float(), 3, 1, 1)[:, 0] > 0
    return _told_apart(network, x, kind, wide, 150, held=40)


def _told_apart(network: nn.Module, x: Tensor, kind: Tensor, where: Tensor, steps: int, held: int) -> dict[str, float]:
    """A classifier of signals or volumes, trained on all but the last few, and where its maps of those lie."""
    fitted(network, lambda n, i: F.cross_entropy(n(x[i]), kind[i]), steps, len(x) - held)
    x, kind, where = x[-held:], kind[-held:], where[-held:]
    maps = quiet(network, x, target=kind.tolist(), method=METHOD, layer="7").maps[:, 0]
    right = float((network(x).argmax(1) == kind).float().mean())
    onto = share(maps, where)
    area = float(where.float().mean())
    return {"right": right, "on it": float(onto.nanmean()), "of the area": area, "maps": int(onto.isfinite().sum())}


TASKS = (segmenter, detector, counter, siamese, captioner, answerer, event, lesion)


def run(names: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Each task's figures."""
    for task in TASKS:
        if not names or task.__name__ in names:
            torch.manual_seed(0)
            yield task.__name__, task()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("names", nargs="*", help="which tasks; all if none is named")
    arguments.add_argument("--out", type=Path, help="a JSON file for the figures")
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    figures = {}
    for name, facts in run(chosen.names):
        figures[name] = facts
        print(f"{name:10}", "  ".join(f"{fact} {value:.2f}" for fact, value in facts.items()), flush=True)
        if chosen.out:
            chosen.out.write_text(json.dumps(figures, indent=2))
