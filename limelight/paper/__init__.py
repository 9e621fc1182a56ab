"""The paper's own experiments, run again on the reader's network and pictures, beside what was published.

One protocol a file: ``localisation``, ``pointing``, ``faithfulness``, ``discrimination``, ``counterfactual``,
``adversarial`` and ``bias``. Each but the last measures picture by picture (``run`` keeps what is done) and then says
what came of it; ``page`` puts the published figure beside it and states every difference in set-up.

The paper is Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
arXiv 1610.02391; sections are counted as in its journal version (IJCV 128, 2020).
"""

from __future__ import annotations

from limelight.paper.protocol import Bench, Figure, Outcome, Protocol
from limelight.paper.run import PROTOCOLS, Reproduction, reproduce

__all__ = ["PROTOCOLS", "Bench", "Figure", "Outcome", "Protocol", "Reproduction", "reproduce"]
