"""Whether one map is to be believed: what it is held against, and what follows from that.

hearing = Hearing.of(network, image, target)     # what the picture and the network say, before any map is looked at
verdict = judge(hearing, heat)                   # one map's figures, and the verdict they come to
"""

from __future__ import annotations

from limelight.judging.hearing import Hearing
from limelight.judging.verdict import Verdict, judge

__all__ = ["Hearing", "Verdict", "judge"]
