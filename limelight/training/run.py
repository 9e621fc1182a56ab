"""What a training run leaves in its folder, and how to find its pictures again.

```
RUN/model.safetensors, card.json   what `limelight.load` reads; the card, written last, says the run is finished
RUN/report.json                    the figures of the test split (and of the others, for comparison)
RUN/predictions.parquet            a row a picture: its path, split, label, mask, prediction and probabilities
RUN/log.csv, log.jsonl             a row an epoch
RUN/state/                         what an interrupted run goes on from; gone when it is finished
```
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limelight.errors import InputError, MissingExtra
from limelight.files import write_whole
from limelight.models import read_card
from limelight.models.checkpoint import CARD
from limelight.training.folder import Dataset, Picture

REPORT, PREDICTIONS, STATE = "report.json", "predictions.parquet", "state"
PROBABILITY = "probability_"
"""Begins the name of the column with a class's probability: ``probability_rice``."""


@dataclass(frozen=True)
class Run:
    """A finished run, read again."""

    folder: Path
    card: dict[str, Any]
    report: dict[str, Any]
    dataset: Dataset
    """The pictures it used, each with its split (and its mask, where there is one)."""
    probabilities: np.ndarray
    """(pictures, classes) What the network said of each, calibrated."""


def finished(folder: Path) -> bool:
    """Whether a run ended here."""
    return (folder / CARD).is_file() and (folder / PREDICTIONS).is_file()


def read_run(folder: str | Path) -> Run:
    """A finished run's figures, pictures and predictions.

    Raises ``InputError`` where no run ended, ``ModelError`` for a card that can't be read, ``MissingExtra`` without
    pyarrow. That the pictures still lie where they lay is not checked.
    """
    folder = Path(folder)
    if not finished(folder):
        more = "it was interrupted: `limelight train ... --resume` finishes it" if (folder / STATE).is_dir() else ""
        raise InputError(f"{folder} holds no finished training run{f': {more}' if more else ''}.")
    card = read_card(folder)
    rows = _parquet().read_table(folder / PREDICTIONS).to_pydict()
    root, classes = Path(card["data"]["root"]), tuple(card["labels"])
    items = tuple(
        Picture(root / path, classes.index(label), split, root / mask if mask else None)
        for path, label, split, mask in zip(rows["path"], rows["label"], rows["split"], rows["mask"], strict=True)
    )
    probabilities = np.stack([rows[PROBABILITY + name] for name in classes], axis=1)
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return Run(folder, card, report, Dataset(Path(card["data"]["source"]), root, classes, items), probabilities)


def write_predictions(folder: Path, dataset: Dataset, probabilities: np.ndarray) -> Path:
    """A row a picture. Paths are relative to the data set's root, whole where they lie elsewhere."""
    import pyarrow as pa

    classes, items = dataset.classes, dataset.items
    predicted = probabilities.argmax(1)
    masks = [item.mask and dataset.name(Picture(item.mask, 0)) for item in items]
    table = pa.table(
        {
            "path": [dataset.name(item) for item in items],
            "split": [item.split for item in items],
            "label": [classes[item.label] for item in items],
            "mask": pa.array(masks, pa.string()),
            "prediction": [classes[i] for i in predicted],
            "probability": probabilities.max(1),
            **{PROBABILITY + name: probabilities[:, i] for i, name in enumerate(classes)},
        }
    )
    file = io.BytesIO()
    _parquet().write_table(table, file, compression="zstd")
    return write_whole(folder / PREDICTIONS, file.getvalue())


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtra("pyarrow", "train", "reading and writing a run's predictions") from None
    return parquet
