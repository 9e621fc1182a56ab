"""Where objects are, as others wrote it down: COCO, Pascal VOC and ImageNet XML, CSV, or mask pictures.

All give the same: for each picture, by its file's name without the ending, regions with the names of their class.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from limelight.errors import InputError
from limelight.ranking.runs import Runs

PICTURES = {".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".jpg", ".jpeg"}
SLACK = 1.5
"""Pixels by which a box may reach beyond its picture, for those who count from 1 or round: it is cut there."""


@dataclass(frozen=True)
class Region:
    """One object of one picture.

    Attributes:
        names: what its class may go by; none where the file tells no classes.
        box: x0, y0, x1, y1 in pixels of the photograph, edges not centres.
        outline: polygons ``[x, y, x, y, ...]`` in the same pixels.
        mask: a picture of the photograph's size that is not 0 where the object is.
        runs: the same as run lengths.
    """

    names: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    outline: tuple[tuple[float, ...], ...] = ()
    mask: Path | None = None
    runs: Runs | None = None

    def pixels(self, size: tuple[int, int], where: str) -> Tensor:
        """True on the object ``(height, width)``, of a photograph of ``size`` = (width, height).

        Raises:
            InputError: the box lies outside the photograph, or the mask is of another size or empty.
        """
        from PIL import Image, ImageDraw

        width, height = size
        if self.mask is not None:
            with Image.open(self.mask) as picture:
                if picture.size != size:
                    raise InputError(
                        f"mask {self.mask} is {picture.width} x {picture.height} pixels, its picture {width} x {height}"
                    )
                return torch.tensor(list(picture.convert("L").tobytes())).view(height, width) > 0
        if self.runs is not None:
            if (self.runs.width, self.runs.height) != size:
                raise InputError(
                    f"the run-length mask of {where} is {self.runs.width} x {self.runs.height} pixels, its picture "
                    f"{width} x {height}"
                )
            return self.runs.pixels()
        if self.outline:
            drawn = Image.new("L", size)
            for polygon in self.outline:
                ImageDraw.Draw(drawn).polygon(list(polygon), fill=255)
            return torch.tensor(list(drawn.tobytes())).view(height, width) > 0
        x0, y0, x1, y1 = self.placed(size, where)
        across, down = torch.arange(width) + 0.5, torch.arange(height) + 0.5
        return ((down >= y0) & (down < y1))[:, None] & ((across >= x0) & (across < x1))

    def placed(self, size: tuple[int, int], where: str) -> tuple[float, float, float, float]:
        """The box, cut to the photograph.

        Raises:
            InputError: it is empty, or lies outside by more than a pixel.
        """
        assert self.box is not None, "a region has a box, an outline or a mask"
        (x0, y0, x1, y1), (width, height) = self.box, size
        inside = -SLACK <= x0 < x1 <= width + SLACK and -SLACK <= y0 < y1 <= height + SLACK
        if not inside or min(x1, width) <= max(x0, 0) or min(y1, height) <= max(y0, 0):
            said = ", ".join(f"{value:g}" for value in self.box)
            raise InputError(f"box {said} of {where} is empty or lies outside its picture of {width} x {height} pixels")
        return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


Annotations = dict[str, list[Region]]


def read(source: str | Path) -> Annotations:
    """The regions of each picture, from a COCO JSON, a CSV, a folder of XML files (or one), or a folder of masks.

    A CSV has a column ``file`` and, a row a box, ``x0,y0,x1,y1`` (or ``xmin,ymin,xmax,ymax``), or all boxes of a
    picture in ``boxes``: ``x0 y0 x1 y1;...``. Classes are read from ``label``, ``class``, ``wnid`` or ``index``.

    Raises:
        InputError: it is none of these, or holds no region; the message says where.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"there are no annotations at {path}")
    if path.is_dir():
        found = _folder(path)
    else:
        readers = {".json": _coco, ".csv": _csv, ".xml": lambda one: _grouped(_voc(one))}
        if path.suffix.lower() not in readers:
            raise InputError(f"{path} is no annotation that is read here: give COCO .json, .csv, VOC .xml, or a folder")
        found = readers[path.suffix.lower()](path)
    if not any(found.values()):
        raise InputError(f"{path} holds no box and no mask")
    return found


def _grouped(pairs: Iterator[tuple[str, Region]]) -> Annotations:
    found: Annotations = defaultdict(list)
    for file, region in pairs:
        found[Path(file).stem].append(region)
    return dict(found)


def _folder(folder: Path) -> Annotations:
    xml = sorted(folder.rglob("*.xml"))
    if xml:
        return _grouped(pair for file in xml for pair in _voc(file))
    masks = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)
    return {file.stem: [Region(mask=file)] for file in masks}


def _voc(file: Path) -> Iterator[tuple[str, Region]]:
    """Pascal VOC's XML, which ImageNet's is too. Its pixels count from 1 and include the last."""
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise InputError(f"{file} can't be read as XML: {error}") from None
    for thing in root.iter("object"):
        box = thing.find("bndbox")
        corners = [box.findtext(edge) if box is not None else None for edge in ("xmin", "ymin", "xmax", "ymax")]
        x0, y0, x1, y1 = (_number(value, file) for value in corners)
        # The file's own name is in the XML too, but ImageNet's leaves out the ending and some tools write a path.
        yield file.stem, Region((thing.findtext("name") or "",), (x0 - 1, y0 - 1, x1, y1))


def _csv(file: Path) -> Annotations:
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    columns = rows[0].keys() if rows else ()
    corners = next(
        (edges for edges in (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax")) if set(edges) <= set(columns)),
        None,
    )
    if rows and ("file" not in columns or not (corners or "boxes" in columns)):
        raise InputError(f"{file} needs a column file, and boxes or x0, y0, x1, y1; it has {', '.join(columns)}")

    def regions() -> Iterator[tuple[str, Region]]:
        for row in rows:
            names = tuple(row[name] for name in ("label", "class", "wnid", "index") if row.get(name))
            texts = [row[edge] for edge in corners] if corners else []
            boxes = [texts] if corners else [box.split() for box in row["boxes"].split(";") if box.strip()]
            for box in boxes:
                x0, y0, x1, y1 = (_number(value, file) for value in _four(box, file))
                yield row["file"], Region(names, (x0, y0, x1, y1))

    return _grouped(regions())


def _coco(file: Path) -> Annotations:
    try:
        content: Any = json.loads(file.read_text())
        pictures = {picture["id"]: picture["file_name"] for picture in content["images"]}
        names = {category["id"]: category["name"] for category in content["categories"]}
        things: Sequence[dict[str, Any]] = content["annotations"]

        def regions() -> Iterator[tuple[str, Region]]:
            for thing in things:
                x, y, width, height = (_number(value, file) for value in _four(thing["bbox"], file))
                box, outline = (x, y, x + width, y + height), thing.get("segmentation")
                polygons = tuple(tuple(map(float, each)) for each in outline) if isinstance(outline, list) else ()
                runs = Runs.of(outline, str(file)) if isinstance(outline, dict) else None
                region = Region((names[thing["category_id"]],), box, polygons, runs=runs)
                yield pictures[thing["image_id"]], region

        return _grouped(regions())
    except json.JSONDecodeError as error:
        raise InputError(f"{file} can't be read as JSON: {error}") from None
    except (KeyError, TypeError) as error:
        raise InputError(f"{file} is no COCO file of instances: {error} is missing or no list") from None


def _four(values: Sequence[Any], file: Path) -> Sequence[Any]:
    if len(values) != 4:
        raise InputError(f"{file}: a box has four numbers, not {len(values)}: {' '.join(map(str, values))}")
    return values


def _number(value: Any, file: Path) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{file}: {value!r} is no number of a box") from None
