"""Explanations as rows of a table: one for each picture and map, and one for each picture that can't be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limelight.explanation import Explanation
from limelight.heatmap import shown
from limelight.models.classes import class_of
from limelight.parts import pyarrow
from limelight.streaming.decoding import Picture

Row = dict[str, Any]
ZERO = "zero_map"
"""The flag of a map without any evidence."""
_BLANK = (
    "size", "seen", "prediction", "prediction_label", "confidence", "right", "top", "target", "target_label", "score",
    "probability", "method", "layer", "grid", "map", "scale", "spread", "peak", "verdict", "support", "overlay",
)  # fmt: skip


def failed(number: int, picture: Picture) -> Row:
    """The row of a picture that can't be used."""
    return {**_picture(number, 0, picture), **dict.fromkeys(_BLANK), "flags": [], "error": picture.error}


def rows_of(
    numbers: Sequence[int],
    pictures: Sequence[Picture],
    explanations: Sequence[Explanation],
    known: Mapping[str, int],
) -> list[list[Row]]:
    """The rows of each picture of a batch: its targets by the first method, then by the next.

    Args:
        numbers: the pictures' places in the whole list.
        pictures: what is known of them.
        explanations: of all of them, one for each method.
        known: the classes' names (see :func:`limelight.models.classes.spellings`), for what a label means.
    """
    found: list[list[Row]] = [[] for _ in pictures]
    for explanation in explanations:
        views = [picture.view for picture in pictures if picture.view is not None]
        records = replace(explanation, views=views).records()
        raw = _one_map(explanation)
        spreads = spread(raw).tolist()
        for i, (number, picture, record) in enumerate(zip(numbers, pictures, records, strict=True)):
            own = _of_picture(picture, record, known)
            for j, target in enumerate(record["targets"]):
                place = _picture(number, len(found[i]), picture)
                found[i].append({**place, **own, **_of_map(target, raw[i, j], spreads[i][j])})
    return found


def _picture(number: int, map_: int, picture: Picture) -> Row:
    item = picture.item
    return {
        "picture": number,
        "number": map_,
        "path": item.path,
        "label": item.label,
        "size": picture.size,
        "notes": list(picture.notes),
    }


def _of_picture(picture: Picture, record: Mapping[str, Any], known: Mapping[str, int]) -> Row:
    best = record["predictions"][0] if record["predictions"] else {"index": None, "label": None, "probability": None}
    true = None if picture.item.label is None else class_of([picture.item.label], dict(known))
    return {
        "size": record["size"],
        "seen": None if picture.view is None else list(picture.view.box),
        "prediction": best["index"],
        "prediction_label": best["label"],
        "confidence": best["probability"],
        "right": None if true is None or best["index"] is None else best["index"] == true,
        "top": record["predictions"],
        "error": None,
    }


def _of_map(target: Mapping[str, Any], raw: Tensor, spread: float) -> Row:
    scale = float(raw.abs().amax()) or 1.0
    return {
        "target": target["index"],
        "target_label": target["label"],
        "score": target["score"],
        "probability": target["probability"],
        "method": target["method"],
        "layer": target["layer"],
        "grid": list(raw.shape),
        "map": (raw / scale).half().flatten().numpy(),
        "scale": scale,
        "spread": None if target["warning"] else spread,
        "peak": target["peak"],
        "verdict": None,
        "support": None,
        "flags": [ZERO] if target["warning"] else [],
        "overlay": None,
    }


def _one_map(explanation: Explanation) -> Tensor:
    """``(batch, targets, *grid)``: the raw map; of several layers the fused one, at the finest of their grids."""
    raws = [raw.detach().float().cpu() for raw in explanation.raws]
    if len(raws) == 1:
        return raws[0]
    finest = max((raw.shape[2:] for raw in raws), key=lambda grid: grid.numel())
    return shown(raws, finest, how=explanation.fusion)


def spread(raw: Tensor) -> Tensor:
    """``(..., *grid)`` raw maps of a batch and targets -> ``(batch, targets)``: the least share of a map's cells that
    holds half of its positive evidence; a point has nearly 0, an even map a half.
    """
    cells = raw.clamp(min=0).flatten(2).sort(dim=2, descending=True).values.cumsum(dim=2)
    return ((cells < cells[..., -1:] / 2).sum(dim=2) + 1) / cells.shape[2]


def table(rows: Sequence[Row], maps: bool = True) -> Any:
    """The rows as one of pyarrow's tables; without the raw ``maps`` where they are not wanted."""
    arrow, _ = pyarrow()
    columns = []
    for field in schema():
        values = [row[field.name] for row in rows]
        if field.name == "map":
            columns.append(_halves(arrow, values if maps else [None] * len(values)))
        else:
            columns.append(arrow.array(values, type=field.type))
    return arrow.Table.from_arrays(columns, schema=schema())


def _halves(arrow: Any, maps: Sequence[np.ndarray | None]) -> Any:
    """Maps as lists of half-precision numbers, without a Python object for each."""
    lengths = [0 if each is None else each.size for each in maps]
    flat = np.concatenate([np.zeros(0, np.float16), *(each for each in maps if each is not None)])
    missing = arrow.array([each is None for each in maps], type=arrow.bool_())
    offsets = arrow.array(np.cumsum([0, *lengths]), type=arrow.int32())
    return arrow.ListArray.from_arrays(offsets, arrow.array(flat, type=arrow.float16()), mask=missing)


def schema() -> Any:
    """The columns and their types."""
    arrow, _ = pyarrow()
    text, whole, number = arrow.string(), arrow.int32(), arrow.float32()
    several = arrow.list_
    best = several(arrow.struct([("index", whole), ("label", text), ("probability", number)]))
    return arrow.schema(
        [
            *(("picture", arrow.int64()), ("number", whole), ("path", text), ("label", text)),
            *(("size", several(whole)), ("seen", several(number)), ("notes", several(text))),
            *(("prediction", whole), ("prediction_label", text), ("confidence", number), ("right", arrow.bool_())),
            *(("top", best), ("target", whole), ("target_label", text), ("score", number), ("probability", number)),
            *(("method", text), ("layer", text), ("grid", several(whole)), ("map", several(arrow.float16()))),
            *(("scale", number), ("spread", number), ("peak", several(number))),
            *(("verdict", text), ("support", number), ("flags", several(text)), ("overlay", text), ("error", text)),
        ]
    )


def maps_of(table: Any) -> list[Tensor | None]:
    """The raw maps ``grid`` of a table's rows, in single precision; None where there is none."""
    columns = (table[name].to_pylist() for name in ("map", "grid", "scale"))
    return [
        None if values is None else torch.tensor(np.asarray(values, np.float32)).view(*grid) * scale
        for values, grid, scale in zip(*columns, strict=True)
    ]
