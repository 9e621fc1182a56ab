"""Is the map to be believed? The metrics, the registry that lists them, and what they are measured on.

scene = Scene.of(network, inputs, target)          # pictures and what the network says of them
case = Case.of(scene, maps, masks=masks)           # maps of these pictures
case.measure("deletion")                           # one value for each picture
"""

from __future__ import annotations

from limelight.evaluation import (
    consistency,
    correlation,
    faithfulness,
    information,
    judge,
    localisation,
    mosaics,
    sanity,
    simplicity,
    stability,
    window,
)
from limelight.evaluation.baselines import CHANCE, centre_gaussian, chance_maps, edges, random_maps
from limelight.evaluation.case import Case, Explainer, explainer
from limelight.evaluation.registry import QUESTIONS, REGISTRY, Metric, get
from limelight.evaluation.removal import Removal
from limelight.evaluation.scene import Scene

__all__ = [
    "CHANCE",
    "QUESTIONS",
    "REGISTRY",
    "Case",
    "Explainer",
    "Metric",
    "Removal",
    "Scene",
    "centre_gaussian",
    "chance_maps",
    "consistency",
    "correlation",
    "edges",
    "explainer",
    "faithfulness",
    "get",
    "information",
    "judge",
    "localisation",
    "mosaics",
    "random_maps",
    "sanity",
    "simplicity",
    "stability",
    "window",
]
