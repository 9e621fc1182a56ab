"""Rice and beans: rendered photographs of two classes that nothing but the grains tells apart.

``render`` draws one picture with its masks, ``write`` a whole data set. ``plan`` and ``draw`` are the two halves of
``render``, for scenes with both kinds or with something left out.
"""

from __future__ import annotations

from limelight.data.grains.drawing import Scene as Scene
from limelight.data.grains.drawing import draw as draw
from limelight.data.grains.drawing import render as render
from limelight.data.grains.planning import Plan as Plan
from limelight.data.grains.planning import plan as plan
from limelight.data.grains.shortcuts import KINDS as SHORTCUTS
from limelight.data.grains.shortcuts import Shortcut as Shortcut
from limelight.data.grains.writing import write as write

__all__ = ["SHORTCUTS", "Plan", "Scene", "Shortcut", "draw", "plan", "render", "write"]
