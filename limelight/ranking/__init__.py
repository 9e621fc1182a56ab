"""Methods ranked on a data set: measured picture by picture, resumable, with chance beside them, on one page."""

from __future__ import annotations

from limelight.ranking.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
