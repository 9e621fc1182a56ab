"""A network that sees colours, and pictures of coloured squares: where each class is, and each map, is known."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from limelight.models import Model
from limelight.preprocessing import Preprocessing

SIDE, CELL = 64, 8
LABELS = ("red", "green", "blue")
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
Box = tuple[int, int, int, int]


class Colours(nn.Module):
    """Three scores: how much of each colour there is, each less half of what there is of the others."""

    def __init__(self):
        super().__init__()
        self.cells = nn.AvgPool2d(CELL)
        self.head = nn.Linear(3, 3)
        with torch.no_grad():
            self.head.weight.copy_(60 * (1.5 * torch.eye(3) - 0.5))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x).relu().mean(dim=(2, 3)))


def colours() -> Model:
    preprocessing = Preprocessing((SIDE, SIDE), (0.0,) * 3, (1.0,) * 3, "bilinear", crop=1.0)
    return Model(Colours().eval(), preprocessing, LABELS, "colours", "by hand", 3)


def draw(file: Path, squares: dict[str, Box]) -> Path:
    """A black picture with a square of each colour."""
    picture = Image.new("RGB", (SIDE, SIDE))
    for colour, box in squares.items():
        picture.paste(COLOURS[colour], box)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)
    return file


def annotate(file: Path, squares: dict[str, Box]) -> Path:
    """Pascal VOC's XML for it: pixels count from 1, the last is in."""
    things = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, (x0, y0, x1, y1) in squares.items()
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"<annotation>{things}</annotation>")
    return file


def voc(folder: Path, pictures: dict[str, dict[str, Box]], said: dict[str, dict[str, Box]] | None = None) -> Path:
    """A VOC year: pictures of squares, with their boxes or what is ``said`` instead."""
    for name, squares in pictures.items():
        draw(folder / "JPEGImages" / f"{name}.png", squares)
        annotate(folder / "Annotations" / f"{name}.xml", (said or {}).get(name, squares))
    return folder
