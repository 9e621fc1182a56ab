"""The pictures of an evaluation, what each is asked about, and where the answer lies on it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limelight.errors import InputError
from limelight.images import find
from limelight.models import Model
from limelight.models.classes import class_of, spellings
from limelight.ranking.regions import Annotations, Region


@dataclass(frozen=True)
class Picture:
    """A picture file.

    Attributes:
        path: the file.
        target: the class asked about; None for whichever is predicted.
        regions: where that class is; none where it is not annotated.
    """

    path: Path
    target: int | None = None
    regions: tuple[Region, ...] = ()


def listed(source: str | Path, known: dict[str, int], true: bool) -> list[Picture]:
    """The pictures of a folder or a CSV, in order, with their true classes where they are told and asked for.

    Args:
        source: a folder; its class folders tell the class where they are named after classes. Or a CSV with a column
            ``file``, relative to the CSV, and perhaps ``label``, ``class``, ``wnid`` or ``index``.
        known: the names of the network's classes (see :func:`limelight.models.classes.spellings`).
        true: ask about the true class; otherwise about whichever is predicted.

    Raises:
        InputError: there is no picture, or the true classes are asked for and nothing tells them.
    """
    path = Path(source)
    if path.suffix.lower() == ".csv":
        with path.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        if not rows or "file" not in rows[0]:
            raise InputError(f"{path} needs a column file, and a row for each picture")
        named = [(path.parent / row["file"], [row.get(name) or "" for name in COLUMNS]) for row in rows]
    else:
        named = [(file, [file.parent.name]) for file in find([path])]
    if not named:
        raise InputError(f"there is no picture in {path}")
    found = [Picture(file, class_of(names, known) if true else None) for file, names in named]
    if true and (unknown := [picture.path for picture in found if picture.target is None]):
        raise InputError(
            f"{unknown[0]} and {len(unknown) - 1} more of {len(found)} pictures have no class that the network knows: "
            "name class folders or a CSV's label, wnid or index after its classes, or ask about the predicted ones"
        )
    return found


COLUMNS = ("index", "wnid", "label", "class")


def located(
    pictures: Sequence[Picture], found: Annotations, targets: Sequence[int | None], known: dict[str, int]
) -> list[Picture]:
    """The same pictures with the regions of what each is asked about, and the class settled.

    Raises:
        InputError: nothing is annotated of any of them, or nothing of the classes asked about.
    """
    some = [found.get(picture.path.stem, []) for picture in pictures]
    if not any(some):
        raise InputError(
            f"none of the annotations belongs to one of the pictures: they are of {next(iter(found))!r} and others, "
            f"the pictures are called {pictures[0].path.stem!r} and so on"
        )
    placed = [
        Picture(picture.path, target, tuple(r for r in regions if not r.names or class_of(r.names, known) == target))
        for picture, regions, target in zip(pictures, some, targets, strict=True)
    ]
    if not any(picture.regions for picture in placed):
        told = sorted({name for regions in some for region in regions for name in region.names})
        raise InputError(
            f"no picture has an annotation of the class it is asked about: the annotations are of {', '.join(told[:5])}"
            + ("" if len(told) < 6 else f" and {len(told) - 5} more")
        )
    return placed


def names_of(model: Model) -> dict[str, int]:
    """What the network's classes go by."""
    return spellings(model.labels, model.num_classes)
