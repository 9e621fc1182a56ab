"""Where a data set, unpacked as it is published, keeps its pictures and its annotations."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from limelight.errors import InputError
from limelight.images import find

VOC_CLASSES = Path(__file__).with_name("voc_in_imagenet.csv")
"""Which of ImageNet's classes show an object of Pascal VOC's: our own choice, nothing the paper has."""


@dataclass(frozen=True)
class Layout:
    """A data set.

    Attributes:
        name: what it is, for the page.
        source: the folder or CSV of the pictures.
        boxes: what the annotations are read from; None where there are none.
        classes: a CSV that says which of ImageNet's classes the annotated ones are; None where names do.
        names: the stems of the pictures that are meant; None for all.
    """

    name: str
    source: Path
    boxes: Path | None
    classes: Path | None = None
    names: frozenset[str] | None = None


def found(data: str | Path, boxes: str | Path | None = None, split: str | None = None) -> Layout:
    """The layout of a data set.

    Args:
        data: a VOC year (or VOCdevkit with one in it), ImageNet as its localisation challenge unpacks, a folder of
            pictures with their XML files in it, or a CSV.
        boxes: the annotations, where they lie elsewhere.
        split: of VOC's lists in ``ImageSets/Main``, "val" for one.

    Raises:
        InputError: there is no such folder, or no such list.
    """
    path = Path(data).expanduser()
    if not path.exists():
        raise InputError(f"there are no pictures at {path}")
    given = None if boxes is None else Path(boxes).expanduser()
    years = sorted(year.parent for year in path.glob("VOC[0-9]*/JPEGImages")) if path.is_dir() else []
    if len(years) > 1:
        raise InputError(f"{path} holds {', '.join(year.name for year in years)}: give one of them")
    root = years[0] if years else path
    if (root / "JPEGImages").is_dir():
        names = None if split is None else _listed(root / "ImageSets" / "Main" / f"{split}.txt")
        return Layout(f"Pascal {root.name}", root / "JPEGImages", given or root / "Annotations", VOC_CLASSES, names)
    if split is not None:
        raise InputError(f"--split chooses among Pascal VOC's lists, and {path} is no VOC year: no JPEGImages in it")
    if (challenge := path / "Data" / "CLS-LOC" / "val").is_dir():
        return Layout("ImageNet", challenge, given or path / "Annotations" / "CLS-LOC" / "val")
    if given is None and path.suffix.lower() == ".csv":
        return Layout(path.name, path, path if _has_boxes(path) else None)
    if given is None and path.is_dir() and next(path.rglob("*.xml"), None):
        given = path
    return Layout(path.resolve().name, path, given)


def _listed(file: Path) -> frozenset[str]:
    if not file.is_file():
        there = ", ".join(sorted(each.stem for each in file.parent.glob("*.txt") if "_" not in each.stem)) or "none"
        raise InputError(f"there is no list {file}; there are {there}")
    return frozenset(line.split()[0] for line in file.read_text().splitlines() if line.strip())


def _has_boxes(file: Path) -> bool:
    with file.open(newline="") as lines:
        columns = csv.DictReader(lines).fieldnames or ()
    return bool({"boxes", "x0", "xmin"} & set(columns))


def pictures(layout: Layout) -> list[Path]:
    """The picture files that are meant, of a folder.

    Raises:
        InputError: there is none.
    """
    files = find([layout.source])
    if layout.names is not None:
        files = [file for file in files if file.stem in layout.names]
    if not files:
        raise InputError(f"none of the pictures in {layout.source} is on the list")
    return files
