"""`make demo`: six photographs, a real network, and where it looked. Offline; pictures land in out/demo."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

import limelight as ll
from limelight import printing
from limelight.explanation import Explanation
from limelight.overlays import Overlays
from limelight.sheet import contact_sheet

OUT = Path("out/demo")
ALONE = ["chelsea", "coffee", "rocket", "camera", "astronaut"]


def stacked(*names: str, width: int = 450) -> Image.Image:
    """Photographs of one width above each other."""
    pictures = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]
    pictures = [picture.resize((width, round(picture.height * width / picture.width))) for picture in pictures]
    return Image.fromarray(np.concatenate([np.asarray(picture) for picture in pictures]))


def main() -> None:
    """Explain each photograph's prediction, and both objects of one that holds two."""
    photos = OUT / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for name in ALONE:
        Image.fromarray(getattr(data, name)()).save(photos / f"{name}.png")
    stacked("chelsea", "coffee").save(photos / "cat-and-coffee.png")

    model = ll.load("efficientnet_lite0")
    alone = ll.explain(model, [photos / f"{name}.png" for name in ALONE])
    # Two objects in one picture: the whole of it must be seen, and each is asked for by its own name.
    both = ll.explain(model, photos / "cat-and-coffee.png", target=ll.each("tabby", "espresso"), fit="whole")

    records = write([alone, both])
    printing.explained(records)
    print("beside contact-sheet.png, all of them on one page, and explanations.json")


def write(explanations: list[Explanation]) -> list[dict]:
    """Overlays, a contact sheet and one JSON file; gives the records."""
    overlays = Overlays(OUT)
    records, tiles = [], []
    for explanation in (one for each in explanations for one in each):
        (record,) = explanation.records()
        overlays.write(explanation, record, Path(record["path"]).stem)
        records.append(record)
        if len(record["targets"]) == 1:
            tiles.append((explanation.photo(), Path(record["path"]).stem))
        tiles += [(explanation.overlay(target=j), explanation.caption(target=j)) for j in range(len(record["targets"]))]
    title = "What EfficientNet-Lite0 saw, and where it looked (Grad-CAM)"
    contact_sheet(tiles, columns=4, title=title).save(OUT / "contact-sheet.png")
    (OUT / "explanations.json").write_text(json.dumps({"images": records}, indent=2) + "\n")
    return records


if __name__ == "__main__":
    sys.exit(main())
