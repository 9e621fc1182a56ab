"""Networks of every kind, trained for real, asked where they looked: ``python -m benchmarks.trained``.

What is on the pictures is known: scenes with a mask for each thing, a signal with an event, a volume with a lesion.
Told is how much of each map lies on what was asked about, beside the share of the area it has, and beside what lies on
the *other* things.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight as ll
from benchmarks import evidence as on_body
from benchmarks.looks import Looks, drawn, of_cells_read, share
from benchmarks.scenes import KINDS, NOUNS, PARTS, WORDS, Scenes, scenes
from benchmarks.scratch import SIDE, Detector, Segmenter, detection_loss, fitted, standard
from limelight.statistics import bootstrap

METHOD, PAPER = "hirescam", "gradcam"
BEANS = KINDS.index("beans")


def quiet(*args: Any, **options: Any) -> tuple[ll.Explanation, ll.Explanation]:
    """The maps of both methods."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ll.compare(*args, methods=[METHOD, PAPER], **options)
    return found[METHOD], found[PAPER]


Told = tuple[dict[str, float], Looks | None]


# ---- tasks on small scenes, from nothing


def segmenter(part: str) -> Told:
    """Why is the region of a kind that kind."""
    learn, held = scenes(SIDE, "learning"), scenes(SIDE, part)
    images, labels = standard(learn.images), learn.labels()
    network = fitted(Segmenter(), lambda n, i: F.cross_entropy(n(images[i]), labels[i]), 300, len(learn))
    looks = Looks(4)
    for kind, name in enumerate(KINDS):
        numbers, own = _with(held, kind)
        target = ll.region(1 + kind, mask=own.labels() == 1 + kind)
        looks.add(own, numbers, kind, *quiet(network, standard(own.images), target=target, layer="deep"), title=name)
    right = float((network(standard(held.images)).argmax(1) == held.labels()).float().mean())
    return looks.told(right=right), looks


def detector(part: str) -> Told:
    """Why is there a box of this kind here."""
    learn, held = scenes(SIDE, "learning"), scenes(SIDE, part)
    images, boxes = standard(learn.images), learn.boxes()
    network = fitted(
        Detector(), lambda n, i: detection_loss(n, images[i], [boxes[j] for j in i.tolist()]), 500, len(learn)
    )
    seen, looks, hits = ll.detector(network, "batch boxes (box classes)"), Looks(4), []
    held = held.mixed()
    for number, rows in enumerate(held.boxes()):
        one = torch.tensor([number])
        for kind, x0, y0, x1, y1 in rows.int().tolist():
            found, paper = quiet(seen, standard(held[one].images), target=ll.box((x0, y0, x1, y1), kind), layer="body")
            assert found.probabilities is not None
            hits.append(float(found.probabilities) > 0.5)
            inside = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
            inside[:, y0:y1, x0:x1] = True
            title = KINDS[kind] if len(looks.rows) < 4 else ""
            looks.add(held[one], one, kind, found, paper, title, only=inside)
    return looks.told(right=fmean(hits)), looks


# ---- tasks on a published body


def counter(part: str) -> Told:
    """How many beans: a density that sums to their number.

    It learns by Poisson's likelihood: what is missed costs the more the less evidence there is of it, so saying none
    is no place to rest. (By squares, of densities of a few hundredths, it was.)
    """
    learn, held = scenes(on_body.DRAWN, "learning"), scenes(on_body.DRAWN, part)
    density, counts = learn.density(BEANS, on_body.CELLS), learn.counts()[:, BEANS].float()
    network = on_body.Counter()

    def loss(evidence: Tensor, i: Tensor) -> Tensor:
        cells = network.density(evidence)
        of_poisson = cells - density[i] * (cells + 1e-3).log()
        return of_poisson.sum((1, 2)).mean() + F.smooth_l1_loss(cells.sum((1, 2)), counts[i])

    on_body.learnt(network, loss, 400)
    looks = Looks(8)
    numbers, own = _with(held, BEANS, mixed=False)
    images = on_body.shown(own.images)
    looks.add(own, numbers, BEANS, *quiet(network, images, target=_itself), title="counter of beans", keep=4)
    said, true = network.answers(part), held.counts()[:, BEANS]
    facts = {"right": float((said.round() == true).float().mean()), "error": float((said - true).abs().mean())}
    return looks.told(**facts), looks


def siamese(part: str) -> Told:
    """Alike are pictures of one kind; asked is what two pictures of two kinds share that have one in common."""
    learn, held = scenes(on_body.DRAWN, "learning"), scenes(on_body.DRAWN, part)
    network = on_body.Siamese()
    kinds = learn.counts() > 0
    alone, kind = torch.nonzero(kinds.sum(1) == 1)[:, 0], kinds.int().argmax(1)

    def loss(evidence: Tensor, i: Tensor) -> Tensor:
        own = F.normalize(network.read(evidence), dim=1)
        return F.binary_cross_entropy_with_logits(own @ own.T * 10 - 5, (kind[i][:, None] == kind[i]).float())

    on_body.learnt(network, loss, 300, alone)
    looks, there, embeddings = Looks(8), held.counts() > 0, network.answers(part)
    for kind_, name in enumerate(KINDS):
        first, _ = _with(held, kind_)
        second = torch.stack([_partner(i, first, there) for i in first])
        title = f"alike: {name}"
        for mine, other in ((first, second), (second, first)):
            target = ll.similar(embeddings[other])
            looks.add(held[mine], mine, kind_, *quiet(network, on_body.shown(held[mine].images), target=target), title)
    single = there.sum(1) == 1
    own, of = F.normalize(embeddings[single], dim=1), there[single].int().argmax(1)
    same = (of[:, None] == of).fill_diagonal_(False)
    alike, other = own @ own.T > 0.5, of[:, None] != of
    right = float((alike[same].float().mean() + (~alike[other]).float().mean()) / 2)
    return looks.told(right=right), looks


def _partner(number: Tensor, among: Tensor, there: Tensor) -> Tensor:
    """The next picture that has one kind in common with this one, and only one."""
    rolled = torch.cat([among[among > number], among[among < number]])
    return next(other for other in rolled if int((there[number] & there[other]).sum()) == 1)


def captioner(part: str) -> Told:
    """Grad-CAM's check of captions: a word's map lies on what it names, more than on the others and elsewhere."""
    learn, held = scenes(on_body.DRAWN, "learning"), scenes(on_body.DRAWN, part)
    network, words = on_body.Captioner(), learn.captions()

    def loss(evidence: Tensor, i: Tensor) -> Tensor:
        return F.cross_entropy(network.read(evidence, words[i]).flatten(0, 1), words[i].flatten())

    on_body.learnt(network, loss, 700)
    said, truth, there = network.answers(part).argmax(2), held.captions(), held.counts() > 0
    looks = Looks(8)
    for word, kind in NOUNS.items():
        chosen = there[:, kind] & (there.sum(1) > 1) & (said == WORDS.index(word)).any(1)
        if not chosen.any():
            continue
        numbers = torch.nonzero(chosen)[:, 0]
        found = quiet(network, on_body.shown(held[chosen].images), target=ll.word(WORDS.index(word)))
        looks.add(held[chosen], numbers, kind, *found, title=f'captioner: "{word}"')
    pairs = [[_phrases(own) for own in of] for of in (said, truth)]
    right = fmean({k for k, _ in a} == {k for k, _ in b} for a, b in zip(*pairs, strict=True))
    whole = fmean(a == b for a, b in zip(*pairs, strict=True))
    return looks.told(right=right, **{"whole captions": whole}, **looks.by_kind()), looks


def _phrases(caption: Tensor) -> set[tuple[int, str]]:
    """The kinds that a caption names, each with what it says of it, whatever comes first."""
    said = " ".join(WORDS[word] for word in caption.tolist() if word).split(" and ")
    return {(NOUNS.get(phrase.split()[-1] if phrase else "", -1), phrase) for phrase in said}


def answerer(part: str) -> Told:
    """Is there rice, are there beans, a coin, a leaf: why yes."""
    learn, held = scenes(on_body.DRAWN, "learning"), scenes(on_body.DRAWN, part)
    network, present = on_body.Answerer(), (learn.counts() > 0).float()

    def loss(evidence: Tensor, i: Tensor) -> Tensor:
        said = [network.read(evidence, on_body.asked(kind, len(i)))[:, 0] for kind in range(len(KINDS))]
        return F.binary_cross_entropy_with_logits(torch.stack(said, 1), present[i])

    on_body.learnt(network, loss, 300)
    looks, right = Looks(8), []
    for kind, name in enumerate(KINDS):
        there = held.counts()[:, kind] > 0
        right.append(float(((network.answers(part, on_body.asked(kind, len(held)))[:, 0] > 0) == there).float().mean()))
        numbers, own = _with(held, kind)
        given = (on_body.shown(own.images), on_body.asked(kind, len(numbers)))
        looks.add(own, numbers, kind, *quiet(network, given, target=_yes), title=f"answerer: {name}?")
    return looks.told(right=fmean(right)), looks


def _yes(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


def _itself(outputs: Tensor) -> Tensor:
    return outputs


def _with(held: Scenes, kind: int, mixed: bool = True) -> tuple[Tensor, Scenes]:
    """The numbers of the scenes with a kind, and another beside it, and those scenes."""
    counts = held.counts()
    numbers = torch.nonzero((counts[:, kind] > 0) & (~torch.tensor(mixed) | ((counts > 0).sum(1) > 1)))[:, 0]
    return numbers, held[numbers]


# ---- signals and volumes


Made = tuple[Tensor, Tensor, Tensor]


def signals(count: int, random: torch.Generator) -> Made:
    """Signals in noise with a chirp that rises, or one that falls; which, and where."""
    length, wide = 256, 40
    start = torch.randint(10, length - wide - 10, (count,), generator=random)
    rising = torch.randint(0, 2, (count,), generator=random)
    time = torch.arange(length)[None] - start[:, None]
    inside = (time >= 0) & (time < wide)
    way = torch.where(rising[:, None] == 1, time, wide - time).float()
    x = 0.5 * torch.randn(count, length, generator=random) + inside * torch.sin(way.square() * 0.03) * 2
    return x[:, None], rising, inside


def event(part: str) -> Told:
    """Does a chirp rise or fall."""
    network = nn.Sequential(
        *(nn.Conv1d(1, 16, 9, 2, 4), nn.BatchNorm1d(16), nn.ReLU()),
        *(nn.Conv1d(16, 24, 9, 2, 4), nn.BatchNorm1d(24), nn.ReLU()),
        *(nn.Conv1d(24, 24, 5, 1, 2), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(24, 2)),
    )
    return _told_apart(network, signals, part, 260, 250)


def volumes(count: int, random: torch.Generator) -> Made:
    """Volumes with a bright ball, or a bright cross; which, and where."""
    side = 20
    middle = torch.randint(5, side - 5, (count, 3), generator=random)
    kind = torch.randint(0, 2, (count,), generator=random)
    grid = torch.arange(side)
    away = [(grid[None] - middle[:, d, None]).abs() for d in range(3)]
    z, y, x_ = away[0][:, :, None, None], away[1][:, None, :, None], away[2][:, None, None, :]
    ball = (z**2 + y**2 + x_**2) <= 9
    cross = ((z <= 4).long() * (y <= 1) * (x_ <= 1) + (y <= 4).long() * (z <= 1) * (x_ <= 1)) > 0
    where = torch.where(kind[:, None, None, None] == 0, ball, cross)
    x = (torch.randn(count, side, side, side, generator=random) * 0.5 + where * 1.5)[:, None]
    wide = F.max_pool3d(where[:, None].float(), 3, 1, 1)[:, 0] > 0
    return x, kind, wide


def lesion(part: str) -> Told:
    """Is it a ball or a cross."""
    return _told_apart(_volumetric(), volumes, part, 220, 150)


def clips(count: int, random: torch.Generator) -> Made:
    """Clips of a blob that moves left or right, beside one that doesn't move; which way, and where it is."""
    frames, side = 8, 24
    kind = torch.randint(0, 2, (count,), generator=random)
    rows = torch.stack([torch.randperm(4, generator=random)[:2] for _ in range(count)]) * 5 + 4
    along = torch.arange(frames)[None] * 2 + torch.randint(3, 7, (count, 1), generator=random)
    along = torch.where(kind[:, None] == 1, along, side - 1 - along)
    still = torch.randint(3, side - 3, (count, 1), generator=random).expand(-1, frames)
    grid = torch.arange(side)

    def disc(row: Tensor, column: Tensor) -> Tensor:
        down, right = (grid - row[:, None]).square(), (grid - column[..., None]).square()
        return down[:, None, :, None] + right[:, :, None, :] <= 4

    where, other = disc(rows[:, 0], along), disc(rows[:, 1], still)
    x = (torch.randn(count, frames, side, side, generator=random) * 0.3 + (where | other) * 1.5)[:, None]
    wide = F.max_pool3d(where[:, None].float(), 3, 1, 1)[:, 0] > 0
    return x, kind, wide


def clip(part: str) -> Told:
    """Does a blob move left or right."""
    return _told_apart(_volumetric(), clips, part, 340, 300)


def _volumetric() -> nn.Sequential:
    """Two classes of volumes or clips."""
    return nn.Sequential(
        *(nn.Conv3d(1, 12, 3, 1, 1), nn.BatchNorm3d(12), nn.ReLU()),
        *(nn.Conv3d(12, 24, 3, 2, 1), nn.BatchNorm3d(24), nn.ReLU()),
        *(nn.Conv3d(24, 24, 3, 1, 1), nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(24, 2)),
    )


def _told_apart(
    network: nn.Module, made: Callable[[int, torch.Generator], Made], part: str, count: int, steps: int
) -> Told:
    """A classifier of signals or volumes that learns from so many, and where its maps of 60 others lie."""
    x, kind, _ = made(count, torch.Generator().manual_seed(PARTS["learning"].start))
    fitted(network, lambda n, i: F.cross_entropy(n(x[i]), kind[i]), steps, count)
    x, kind, where = made(60, torch.Generator().manual_seed(PARTS[part].start))
    found, paper = quiet(network, x, target=kind.tolist(), layer="7")
    shown = (found.maps, paper.maps, of_cells_read(found, paper))
    onto, theirs, of_read = (share(each[:, 0], where) for each in shown)
    low, high = bootstrap(onto[onto.isfinite()].numpy())
    return {
        "right": float((network(x).argmax(1) == kind).float().mean()),
        "on it": float(onto.nanmean()),
        "Grad-CAM on it": float(theirs.nanmean()),
        "Grad-CAM of the cells read": float(of_read.nanmean()),
        "cells read": float((found.raw != 0).float().mean()),
        "area": float(where.float().mean()),
        "low": low,
        "high": high,
        "maps": int(onto.isfinite().sum()),
    }, None


TASKS = (segmenter, detector, counter, siamese, captioner, answerer, event, lesion, clip)


def run(names: Sequence[str], part: str, seed: int = 0) -> Iterator[tuple[str, dict[str, float], Looks | None]]:
    """Each task's figures and looks."""
    for task in TASKS:
        if not names or task.__name__ in names:
            torch.manual_seed(seed)
            yield task.__name__, *task(part)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", help="which tasks; all if none is named")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the networks; the scenes stay")
    arguments.add_argument("--part", default="development", choices=list(PARTS)[1:], help="the scenes to ask about")
    arguments.add_argument("--out", type=Path, help="a JSON file for the figures")
    arguments.add_argument("--pictures", type=Path, help="a folder for a row of pictures of each task")
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict[str, float]] = {}
    for seed in chosen.seeds:
        for name, facts, looks in run(chosen.names, chosen.part, seed):
            figures[f"{name} {seed}"] = facts
            print(f"{name:10} {seed}", "  ".join(f"{fact} {value:.2f}" for fact, value in facts.items()), flush=True)
            if chosen.out:
                chosen.out.write_text(json.dumps(figures, indent=2))
            if chosen.pictures and looks:
                chosen.pictures.mkdir(parents=True, exist_ok=True)
                drawn(looks).save(chosen.pictures / f"{name}-{seed}.png")
