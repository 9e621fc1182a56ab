"""The script beside an ONNX file that runs it on photographs without PyTorch or limelight."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from limelight.files import write_whole


def write(model: Path) -> Path:
    """Write the script for a model of pixels, under its name with ``.py``; gives the path."""
    return write_whole(model.with_suffix(".py"), files("limelight.export").joinpath("runner.py").read_text())
