#!/usr/bin/env python3
"""Say what a network sees in photographs, and where it looked: the ONNX file of this script's name does both.

    pip install onnxruntime numpy pillow
    python THIS.py photo.jpg ...             prediction, and an overlay in limelight-out/
    python THIS.py photo.jpg --class 281     where it sees another class (if the file was written with --any-class)
    python THIS.py photo.jpg --json          one JSON document on stdout

Written by limelight, for a file that takes pixels. `answer(session, picture)` gives the arrays to other programs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

ALPHA, FULL_WEIGHT, VEIL = 0.65, 0.5, (88, 88, 92)


def main() -> int:
    """Explain the photographs named on the command line; 0 when all is done, 1 when some failed, 2 when all did."""
    parser = argparse.ArgumentParser(description="Say what a network sees in photographs, and where it looked.")
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    parser.add_argument("--model", type=Path, default=Path(__file__).with_suffix(".onnx"), metavar="FILE")
    parser.add_argument("--class", dest="index", type=int, default=-1, metavar="INDEX", help="default: the predicted")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where overlays go (limelight-out; none with --json)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args()
    try:
        session = load(given.model)
        asked(session, given.index)
    except (OSError, ValueError, RuntimeError) as error:
        parser.error(f"{given.model}: {error}")
    out = given.out or (None if given.json else Path("limelight-out"))
    records = []
    for path in given.photos:
        try:
            records.append(explain(session, path, given.index, out))
        except (OSError, ValueError, SyntaxError) as error:  # Pillow's kinds for a file that is no picture
            print(f"error: {path}: {error}", file=sys.stderr)
            records.append({"path": str(path), "error": str(error)})
            continue
        if not given.json:
            for target in records[-1]["targets"]:
                print(f"{path}  {target['label']}  {target['probability']:.1%}  {target['overlay'] or ''}")
    if given.json:
        print(json.dumps({"images": records}, indent=2))
    failed = sum(record["error"] is not None for record in records)
    return 0 if not failed else 2 if failed == len(records) else 1


def load(path: Path) -> onnxruntime.InferenceSession:
    """A session for the file, on the processor."""
    if not path.is_file():
        raise ValueError("there is no such file; --model says where it is")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    if session.get_inputs()[0].name != "pixels":
        raise ValueError("it takes no pixels: export it with --runner or --input pixels")
    return session


def facts(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    """What the file says of itself: model, method, layers, labels, preprocessing, licence of the weights."""
    said = session.get_modelmeta().custom_metadata_map
    found = {key.partition(".")[2]: value for key, value in said.items() if key.startswith("limelight.")}
    return {key: json.loads(value) if value[:1] in '[{"' else value for key, value in found.items()}


def read(path: Path) -> Image.Image:
    """A photograph as RGB, upright, with what is transparent on white."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def asked(session: onnxruntime.InferenceSession, index: int) -> dict[str, np.ndarray]:
    """The input that names the class, where the file has one."""
    if any(each.name == "class_index" for each in session.get_inputs()):
        return {"class_index": np.array([index], np.int64)}
    if index >= 0:
        raise ValueError("its class was settled when it was exported: --any-class leaves it open")
    return {}


def answer(session: onnxruntime.InferenceSession, picture: Image.Image, index: int = -1) -> dict[str, np.ndarray]:
    """The file's outputs for one RGB picture: scores, classes, raw (of the layer's grid), map (of its size), box.

    The box is x0, y0, x1, y1 of what the network saw of the picture.
    """
    feed = {"pixels": np.asarray(picture), **asked(session, index)}
    names = [each.name for each in session.get_outputs()]
    found = {name: np.asarray(value) for name, value in zip(names, session.run(names, feed), strict=True)}
    return {name: value if name == "box" else value[0] for name, value in found.items()}


def explain(session: onnxruntime.InferenceSession, path: Path, index: int, out: Path | None) -> dict[str, Any]:
    """The record of one photograph, its overlays written to the folder ``out`` if there is one."""
    picture, said = read(path), facts(session)
    found = answer(session, picture, index)
    chances = probabilities(found["scores"])
    targets = []
    for number, (index, heat) in enumerate(zip(np.atleast_1d(found["classes"]), maps(found), strict=True)):
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        overlay = None
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            overlay = out / f"{path.stem}{f'_{number + 1}' if number else ''}.png"
            paint(picture, heat, bytes.fromhex(said["colours"]), found["box"]).save(overlay)
        targets.append(
            {
                "index": int(index),
                "label": label(said, int(index)),
                "probability": float(chances[index]),
                "peak": [column + 0.5, row + 0.5] if heat.max() > 0 else None,
                "overlay": overlay and str(overlay),
            }
        )
    best = [int(each) for each in chances.argsort()[::-1][:5]]
    predictions = [{"index": each, "label": label(said, each), "probability": float(chances[each])} for each in best]
    return {"path": str(path), "size": picture.size, "predictions": predictions, "targets": targets, "error": None}


def maps(found: dict[str, np.ndarray]) -> np.ndarray:
    """The maps of an answer, ``(targets, height, width)``."""
    return found["map"].reshape(-1, *found["map"].shape[-2:])


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Class scores as probabilities: softmax, or sigmoid of a single one."""
    if len(scores) == 1:
        return 1 / (1 + np.exp(-scores))
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def label(said: dict[str, Any], index: int) -> str:
    """The class's name, where the file knows it."""
    return said["labels"][index] if said.get("labels") else f"class {index}"


def paint(picture: Image.Image, heat: np.ndarray, colours: bytes, box: np.ndarray) -> Image.Image:
    """The picture turning grey and then coloured as evidence grows, and veiled where the network did not look."""
    table = np.frombuffer(colours, np.uint8).reshape(-1, 3)
    index = np.rint(heat * (len(table) - 1)).astype(np.uint8)
    fade = np.clip(np.linspace(0, 1, len(table)) / FULL_WEIGHT, 0, 1)
    weights = np.rint(fade**2 * (3 - 2 * fade) * 255).astype(np.uint8)
    grey = picture.convert("L").convert("RGB")
    coloured = Image.blend(grey, Image.fromarray(table[index]), ALPHA)
    painted = Image.composite(coloured, picture, Image.fromarray(weights[index]))
    left, top, right, bottom = np.clip(np.ceil(box - 0.5), 0, 2 * picture.size).astype(int).tolist()
    veiled = Image.blend(grey, Image.new("RGB", picture.size, VEIL), 0.6)
    veiled.paste(painted.crop((left, top, right, bottom)), (left, top))
    return veiled


if __name__ == "__main__":
    sys.exit(main())
