"""A picture with everything that is annotated on it, in the network's own classes."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limelight.errors import InputError
from limelight.evaluation.boxes import around
from limelight.images import Photo
from limelight.models import Model
from limelight.models.classes import IMAGENET, class_of
from limelight.paper import layouts
from limelight.paper.layouts import Layout
from limelight.preprocessing import View
from limelight.ranking.measuring import mask_of
from limelight.ranking.pictures import Picture, listed, names_of
from limelight.ranking.regions import Region, read

Classes = frozenset[int]


@dataclass(frozen=True)
class Thing:
    """One kind of object on a picture: the classes of the network that it may be called, and where each of it is."""

    classes: Classes
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class Shown:
    """A picture file.

    Attributes:
        path: the file.
        things: what the network knows of what is annotated on it.
        answer: the classes that are right for the whole picture; none where it shows several things, or nothing known.
    """

    path: Path
    things: tuple[Thing, ...]
    answer: Classes

    def mask(self, thing: Thing, view: View, photo: Photo) -> Tensor | None:
        """Where a thing is ``(height, width)`` in the network's input; None where nothing of it can be seen."""
        return mask_of(Picture(self.path, None, thing.regions), view, photo)

    def boxes(self, thing: Thing, photo: Photo) -> Tensor:
        """``(n, 4)`` the boxes of a thing, x0, y0, x1, y1 on the photograph; a mask's is the one around it.

        Raises:
            InputError: a box lies outside the photograph, or a mask does not fit it.
        """
        boxes = [
            torch.tensor(region.placed(photo.size, str(self.path)))
            if region.box is not None
            else around(region.pixels(photo.size, str(self.path))[None])[0]
            for region in thing.regions
        ]
        return torch.stack(boxes)


def gathered(
    model: Model, layout: Layout, classes: str | Path | None = None, most: int | None = None, seed: int = 0
) -> list[Shown]:
    """The pictures of a data set with what the network knows of what is on them.

    Args:
        model: the network.
        layout: the data set.
        classes: a CSV (``name,classes``) of what the annotated classes are among the network's; None where the names
            are its own, or where the layout has one and the network has ImageNet's classes.
        most: so many pictures, drawn by ``seed``; None for all.
        seed: of the drawing.

    Raises:
        InputError: nothing is annotated that the network knows, or a file can't be read; the message says which.
    """
    known = names_of(model)
    table = classes or (layout.classes if model.num_classes == IMAGENET else None)
    meanings = {} if table is None else _meanings(Path(table), known, model.num_classes)
    if layout.source.suffix.lower() == ".csv":
        told = listed(layout.source, known, true=False)
        named = dict(zip((one.path for one in told), listed(layout.source, known, true=True), strict=True))
    else:
        files = layouts.pictures(layout)
        named = {file: Picture(file, class_of([file.parent.name], known)) for file in files}
    regions = {} if layout.boxes is None else read(layout.boxes)
    found = [_shown(path, one.target, regions.get(path.stem, ()), meanings, known) for path, one in named.items()]
    found = [one for one in found if one.things or one.answer]
    if not found:
        what = sorted({name for each in regions.values() for region in each for name in region.names})
        raise InputError(
            f"nothing is known of what is on the pictures of {layout.source}: "
            + (
                f"they are annotated as {', '.join(what[:5])}; say what these are with --classes"
                if what
                else "no boxes"
            )
        )
    if most is not None and most < len(found):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(found))[:most])
        found = [found[i] for i in chosen]
    return found


def _shown(
    path: Path, true: int | None, regions: Sequence[Region], meanings: dict[str, Classes], known: dict[str, int]
) -> Shown:
    things: dict[Classes, list[Region]] = {}
    for region in regions:
        things.setdefault(_classes(region.names, meanings, known), []).append(region)
    if true is not None:  # regions that name no class are of the picture's
        things.setdefault(frozenset([true]), []).extend(things.pop(frozenset(), []))
    there = tuple(Thing(classes, tuple(own)) for classes, own in things.items() if classes and own)
    answer = frozenset([true]) if true is not None else there[0].classes if len(things) == 1 and there else frozenset()
    return Shown(path, there, answer)


def _classes(names: Collection[str], meanings: dict[str, Classes], known: dict[str, int]) -> Classes:
    for name in names:
        if name.casefold() in meanings:
            return meanings[name.casefold()]
    own = class_of(names, known)
    return frozenset() if own is None else frozenset([own])


def _meanings(file: Path, known: dict[str, int], count: int | None) -> dict[str, Classes]:
    """A CSV's ``name`` to the classes in ``classes``: indices, ranges of them (7-24), WordNet ids, blanks between.

    Raises:
        InputError: it has no such columns, or names a class that the network does not have.
    """
    if not file.is_file():
        raise InputError(f"there is no table of classes at {file}")
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"name", "classes"} <= set(rows[0]):
        raise InputError(f"{file} needs the columns name and classes, and a row for each annotated class")
    return {row["name"].casefold(): _several(row["classes"], known, count, file) for row in rows}


def _several(text: str, known: dict[str, int], count: int | None, file: Path) -> Classes:
    found: set[int] = set()
    for word in text.split():
        first, dash, last = word.partition("-")
        if dash and first.isdecimal() and last.isdecimal():
            found.update(range(int(first), int(last) + 1))
        elif (one := class_of([word], known)) is not None:
            found.add(one)
        else:
            raise InputError(f"{file}: {word!r} is no class of the network")
    if found and count is not None and max(found) >= count:
        raise InputError(f"{file}: class {max(found)} of a network that has {count}")
    return frozenset(found)
