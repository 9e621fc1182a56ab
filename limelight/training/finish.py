"""The end of a run: calibrated probabilities, figures, and the files that hold them."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from limelight.files import write_whole
from limelight.models import Model, save
from limelight.training.report import report, worst_mistakes
from limelight.training.run import REPORT, write_predictions
from limelight.training.scan import Scan
from limelight.training.settings import Settings
from limelight.training.state import settings_as_facts


def write(
    run: Path,
    model: Model,
    found: Scan,
    scores: Tensor,
    settings: Settings,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Write all that a finished run leaves, the card last; gives the report.

    ``scores`` (pictures, classes) are the network's own, temperature included. ``facts`` (temperature, notes, ...) go
    into both the report and the card.
    """
    dataset = found.dataset
    probabilities = scores.double().softmax(1).numpy()
    document = _report(found, probabilities) | facts
    write_predictions(run, dataset, probabilities)
    write_whole(run / REPORT, json.dumps(document, indent=1) + "\n")
    trained = replace(model, weights=f"{model.weights}, trained on {dataset.source.resolve().name}")
    metrics = ("accuracy", "interval", "balanced_accuracy", "roc_auc", "log_loss", "calibration_error", "pictures")
    save(
        trained,
        run,
        data={
            "source": str(dataset.source.resolve()),
            "root": str(dataset.root.resolve()),
            "fingerprint": found.fingerprint,
            "pictures": len(dataset),
            "splits": {name: dataset.counts(name) for name in ("train", "val", "test")},
            "skipped": list(dataset.skipped),
        },
        settings=settings_as_facts(settings),
        metrics={name: document[name] for name in metrics},
        versions=versions(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    )
    return document


def versions() -> dict[str, str]:
    """What the weights depend on besides the data and the settings."""
    libraries = ("limelight", "torch", "torchvision", "timm", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def _report(found: Scan, probabilities: np.ndarray) -> dict[str, Any]:
    """The test's figures; ``splits`` has those of train and val beside them."""
    dataset = found.dataset
    labels = np.array(dataset.labels)

    def of(split: str) -> dict[str, Any]:
        numbers = dataset.of(split)
        return report(probabilities[numbers], labels[numbers], dataset.classes)

    test = dataset.of("test")
    names = [dataset.name(dataset.items[i]) for i in test]
    return {
        **of("test"),
        "mistakes": worst_mistakes(names, probabilities[test], labels[test], dataset.classes),
        "splits": {split: of(split) for split in ("train", "val") if dataset.of(split)},
        "duplicates": found.told(),
        "skipped": list(dataset.skipped),
    }
