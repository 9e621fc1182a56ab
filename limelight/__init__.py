"""limelight: where a vision model looked, and whether to believe it.

Names are looked up when they are first used, so that ``import limelight`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limelight import errors as errors
    from limelight import methods as methods
    from limelight.checkup import doctor as doctor
    from limelight.cut import Captured as Captured
    from limelight.cut import Cut as Cut
    from limelight.detectors import detector as detector
    from limelight.elsewhere import verdict as verdict
    from limelight.engines import Engine as Engine
    from limelight.engines import engine as engine
    from limelight.errors import LimelightError as LimelightError
    from limelight.errors import LimelightWarning as LimelightWarning
    from limelight.explainer import compare as compare
    from limelight.explainer import explain as explain
    from limelight.explanation import Explanation as Explanation
    from limelight.export.compiled import Compiled as Compiled
    from limelight.export.compiled import compile as compile
    from limelight.images import Photo as Photo
    from limelight.images import read as read
    from limelight.judging import Verdict as Verdict
    from limelight.models import Model as Model
    from limelight.models import available as available
    from limelight.models import load as load
    from limelight.nested import Inputs as Inputs
    from limelight.pairs import alike as alike
    from limelight.pairs import embed as embed
    from limelight.preprocessing import Preprocessing as Preprocessing
    from limelight.step import GIVEN as GIVEN
    from limelight.step import Answer as Answer
    from limelight.streaming.flow import stream as stream
    from limelight.studies.study import study as study
    from limelight.targets import box as box
    from limelight.targets import classes as classes
    from limelight.targets import contrast as contrast
    from limelight.targets import counter as counter
    from limelight.targets import detections as detections
    from limelight.targets import each as each
    from limelight.targets import log_probability as log_probability
    from limelight.targets import probability as probability
    from limelight.targets import region as region
    from limelight.targets import rest as rest
    from limelight.targets import sentence as sentence
    from limelight.targets import similar as similar
    from limelight.targets import top as top
    from limelight.targets import word as word
    from limelight.targets import words as words
    from limelight.training import train as train
    from limelight.usefulness import layers as layers

__version__ = "0.1.0"

_HOME = {
    "cut": ["Captured", "Cut"],
    "detectors": ["detector"],
    "checkup": ["doctor"],
    "elsewhere": ["verdict"],
    "engines": ["Engine", "engine"],
    "errors": ["LimelightError", "LimelightWarning"],
    "export.compiled": ["Compiled", "compile"],
    "explainer": ["compare", "explain"],
    "explanation": ["Explanation"],
    "images": ["Photo", "read"],
    "judging": ["Verdict"],
    "models": ["Model", "available", "load"],
    "nested": ["Inputs"],
    "pairs": ["alike", "embed"],
    "preprocessing": ["Preprocessing"],
    "step": ["GIVEN", "Answer"],
    "streaming.flow": ["stream"],
    "studies.study": ["study"],
    "targets": [
        "box",
        "classes",
        "contrast",
        "counter",
        "detections",
        "each",
        "log_probability",
        "probability",
        "region",
        "rest",
        "sentence",
        "similar",
        "top",
        "word",
        "words",
    ],
    "usefulness": ["layers"],
    "training": ["train"],
}
_ROOM = {name: room for room, names in _HOME.items() for name in names}

__all__ = ["errors", "methods", *sorted(_ROOM)]


def __getattr__(name: str) -> Any:
    if name in ("errors", "methods"):
        return import_module(f"limelight.{name}")
    if name not in _ROOM:
        raise AttributeError(f"module 'limelight' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"limelight.{_ROOM[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
