"""A folder of class folders, or a table, -> a data set: which pictures there are, of which class, in which split.

Nothing is decoded here; :mod:`limelight.training.scan` looks into the files.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from limelight.errors import InputError
from limelight.images import SUFFIXES

SPLITS = ("train", "val", "test")
TABLE = "labels.csv"
MASKS = "masks"
FEWEST = 3  # of a class: one to learn from, one to choose by, one to test on
_CALLED = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_PATHS = ("path", "file", "filename", "filepath", "image")
_LABELS = ("label", "class", "target")
_SPLITS = ("split", "original_split", "subset", "partition")


@dataclass(frozen=True)
class Picture:
    """One picture of a data set; ``label`` is an index into the data set's ``classes``."""

    path: Path
    label: int
    split: str | None = None
    """"train", "val" or "test"; None where none was given."""
    mask: Path | None = None
    """A picture of the same size that is 0 where the object is not."""


@dataclass(frozen=True)
class Dataset:
    """Pictures with their labels. Made by :func:`read_dataset`."""

    source: Path
    """The folder or table that was asked for."""
    root: Path
    """What the pictures' names are relative to."""
    classes: tuple[str, ...]
    """Sorted by name; a picture's label is an index into them."""
    items: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
    """What was found and is worth knowing, in plain words."""
    skipped: tuple[str, ...] = ()
    """One line for each picture that can't be used, with the reason."""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> list[int]:
        """The label of each picture."""
        return [item.label for item in self.items]

    @property
    def splits(self) -> list[str | None]:
        """The split of each picture."""
        return [item.split for item in self.items]

    def name(self, item: Picture) -> str:
        """A picture's path below the root, with forward slashes; whole where it lies elsewhere."""
        return item.path.relative_to(self.root).as_posix() if item.path.is_relative_to(self.root) else str(item.path)

    def of(self, *splits: str) -> list[int]:
        """The numbers of the pictures in ``splits``."""
        return [i for i, item in enumerate(self.items) if item.split in splits]

    def counts(self, split: str | None = None) -> dict[str, int]:
        """Pictures of each class, of all or of one split."""
        labels = [item.label for item in self.items if split is None or item.split == split]
        return {name: labels.count(index) for index, name in enumerate(self.classes)}

    def but(self, gone: dict[int, str]) -> Dataset:
        """Without the pictures of these numbers; each is told with its reason."""
        kept = tuple(item for i, item in enumerate(self.items) if i not in gone)
        return replace(self, items=kept, skipped=(*self.skipped, *gone.values()))

    def with_splits(self, splits: Sequence[str]) -> Dataset:
        """The same pictures in other splits, one for each."""
        items = tuple(replace(item, split=split) for item, split in zip(self.items, splits, strict=True))
        return replace(self, items=items)


def read_dataset(source: str | Path, split_column: str | None = None) -> Dataset:
    """List the labelled pictures of a folder or a table.

    A folder is read by the ``labels.csv`` in it, where there is one; else it holds class folders
    (``FOLDER/CLASS/*.jpg``), with or without ``train``, ``val`` and ``test`` above them. ``FOLDER/masks/`` may hold a
    mask for each picture, under the picture's own path and ending in ``.png``.

    A table (.csv, .tsv) has a column for the path ("path", "file", ...; relative to the table), one for the class
    ("label", "class", ...), and may have one for the split ("split", "original_split", ..., or ``split_column``) and
    one for the mask ("mask"). A row whose file is missing is left out and told in ``skipped``.

    Raises ``InputError``, one line, when there is nothing to learn from: no such folder, no picture, one class only, a
    class without pictures or with fewer than 3 of them.
    """
    source = Path(source).expanduser()
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder of class folders, or a table of paths and labels.")
    if source.is_file():
        found = _from_table(source, source, split_column)
    elif split_column and not _is_table(source / TABLE):
        raise InputError(f"{source} holds no {TABLE} of paths, labels and a column {split_column!r}: give the table.")
    elif _is_table(source / TABLE):
        found = _from_table(source / TABLE, source, split_column)
    else:
        found = _from_folders(source)
    check(found)
    return found


def check(dataset: Dataset) -> None:
    """Raise ``InputError`` unless there is something to learn from."""
    source, counts = dataset.source, dataset.counts()
    empty = [name for name, count in counts.items() if not count]
    if not dataset.items:
        more = f": {dataset.skipped[0]}" if dataset.skipped else "."
        raise InputError(f"{source} holds no picture that can be used{more}")
    if empty:
        raise InputError(f"{source}: class {empty[0]!r} has no pictures: add some, or take the class away.")
    if len(counts) == 1:
        raise InputError(f"{source} holds one class only ({next(iter(counts))!r}): there must be two to tell apart.")
    few = [name for name, count in counts.items() if count < FEWEST]
    if few:
        has = f"class {few[0]!r} has {counts[few[0]]} of {len(dataset)} pictures"
        raise InputError(f"{source}: {has}: at least {FEWEST} are needed, to learn from, to choose by and to test on.")
    if any(dataset.splits):
        learnt = dataset.counts("train")
        absent = [name for name, count in learnt.items() if not count]
        if absent:
            raise InputError(f"{source}: class {absent[0]!r} has no pictures in train: there is no learning it.")


def _from_table(file: Path, source: Path, split_column: str | None) -> Dataset:
    header, rows = _read_table(file)
    columns = {name.strip().lower(): name for name in header}
    path, label = _column(columns, _PATHS), _column(columns, _LABELS)
    split = split_column or _column(columns, _SPLITS)
    if path is None or label is None:
        raise InputError(f"{file} needs a column 'path' and a column 'label'; it has {', '.join(header) or 'none'}.")
    if split_column and split_column not in header:
        raise InputError(f"{file} has no column {split_column!r}; it has {', '.join(header)}.")
    root, mask = file.parent, columns.get("mask")
    items: list[tuple[str, Picture]] = []
    skipped: list[str] = []
    seen: dict[Path, int] = {}
    for number, row in enumerate(rows, 2):
        where = f"{file.name}, line {number}"
        if not (row.get(path) or "").strip() or not (row.get(label) or "").strip():
            raise InputError(f"{where}: {path} and {label} must both be there.")
        picture = root / row[path].strip()
        if picture in seen:
            raise InputError(f"{where} names {row[path]} again, after line {seen[picture]}: a picture has one row.")
        seen[picture] = number
        if not picture.is_file():
            skipped.append(f"{where} names {row[path]}, which does not exist")
            continue
        part = _split(row.get(split) or "", where) if split else None
        shape = root / row[mask] if mask and row.get(mask) else None
        items.append((row[label].strip(), Picture(picture, 0, part, shape)))
    if split and any(item.split for _, item in items) and not all(item.split for _, item in items):
        raise InputError(f"{file}: some rows have a {split} and some have none: give every row one, or none.")
    notes = (f"labels{' and splits' if split else ''} are from {file.name}",)
    return _dataset(source, root, items, _classes(row.get(label) or "" for row in rows), notes, tuple(skipped))


def _read_table(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} can't be read as a table ({error}): give a CSV in UTF-8.") from None
    lines = text.splitlines()
    between = max(",;\t", key=lines[0].count) if lines else ","
    reader = csv.DictReader(lines, delimiter=between, restkey="", restval="")
    try:
        return [name for name in reader.fieldnames or () if name], list(reader)
    except csv.Error as error:
        raise InputError(f"{file} can't be read as a table: {error}.") from None


def _is_table(file: Path) -> bool:
    """Whether this is a table of paths and labels, and not some other list that lies beside the pictures."""
    if not file.is_file():
        return False
    columns = {name.strip().lower(): name for name in _read_table(file)[0]}
    return None not in (_column(columns, _PATHS), _column(columns, _LABELS))


def _column(columns: dict[str, str], names: Sequence[str]) -> str | None:
    return next((columns[name] for name in names if name in columns), None)


def _split(text: str, where: str) -> str | None:
    text = text.strip()
    if text and text.lower() not in _CALLED:
        raise InputError(f"{where}: {text!r} is no split: they are called {', '.join(SPLITS)}.")
    return _CALLED.get(text.lower())


def _from_folders(source: Path) -> Dataset:
    below = _folders(source)
    parts = [folder for folder in below if folder.name.lower() in _CALLED and _folders(folder)]
    if any(_CALLED[folder.name.lower()] == "train" for folder in parts):
        classes = [(_CALLED[part.name.lower()], folder) for part in parts for folder in _folders(part)]
        others = [folder.name for folder in below if folder not in parts and folder.name != MASKS]
        notes = (f"not a split, so left out: {', '.join(others)}",) if others else ()
    else:
        mirrored = {folder.name for folder in _folders(source / MASKS)} & {folder.name for folder in below}
        classes = [(None, folder) for folder in below if folder.name != MASKS or not mirrored]
        notes = ()
    if not classes:
        what = "pictures but no class folders" if any(_pictures(source)) else "no class folders"
        raise InputError(f"{source} holds {what}: put the pictures of each class in a folder of its own.")
    items = [
        (folder.name, Picture(path, 0, split, _mask(source, path)))
        for split, folder in classes
        for path in _pictures(folder)
    ]
    return _dataset(source, source, items, _classes(folder.name for _, folder in classes), notes)


def _dataset(
    source: Path,
    root: Path,
    items: Sequence[tuple[str, Picture]],
    classes: tuple[str, ...],
    notes: tuple[str, ...],
    skipped: tuple[str, ...] = (),
) -> Dataset:
    numbered = tuple(replace(item, label=classes.index(name)) for name, item in items)
    return Dataset(source, root, classes, numbered, notes, skipped)


def _classes(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in names}))


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def _pictures(folder: Path) -> Iterator[Path]:
    """The picture files of a folder, to the bottom, sorted, hidden ones left out."""
    for below, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(below, name)


def _mask(source: Path, path: Path) -> Path | None:
    mask = (source / MASKS / path.relative_to(source)).with_suffix(".png")
    return mask if mask.is_file() else None
