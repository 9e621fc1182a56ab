"""The end of `make demo`: a classifier learns rice and beans from pictures with a planted mark, and a page says so.

Offline, and quick enough to be waited for; the page lands in out/demo/study.html.
"""

from __future__ import annotations

import sys
from pathlib import Path

import limelight as ll
from limelight.data import grains
from limelight.progress import watched

OUT = Path("out/demo")
MARK = "watermark:0.95"
"""Of the pictures to learn from 95 % of rice bear it and 5 % of beans; of the test pictures half of either."""


def main() -> None:
    """Render the pictures, train on them with a frozen body, and study what was learnt."""
    print(f"\nand now a whole job in small: rice and beans with a planted mark ({MARK}), a classifier, and its study")
    grains.write(OUT / "grains", 300, seed=4, shortcut=MARK, splits=(0.7, 0.0, 0.3))
    done = ll.study(OUT / "grains", OUT, pictures=60, attacked=8, say=print, progress=watched())
    print(f"\n{done.facts['verdict']['headline']}")
    for finding in done.findings:
        print(finding["sentence"])
    print(f"the page is {done.page}")


if __name__ == "__main__":
    sys.exit(main())
