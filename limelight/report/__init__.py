"""One self-contained HTML page: a verdict, questions with their answers, and the evidence.

``blocks`` are what a page is made of, ``pictures`` and ``plots`` make the two kinds that are drawn, ``page`` writes it
all into one file that opens from a disk, asks nothing of any network, and prints.
"""

from __future__ import annotations

from limelight.report import plots as plots
from limelight.report.blocks import (
    Bar,
    Bars,
    Beside,
    Block,
    Cell,
    ContactSheet,
    Counts,
    Folded,
    Gallery,
    Group,
    Level,
    Note,
    Number,
    Numbers,
    Page,
    Picture,
    Plot,
    Prose,
    ScaleKey,
    Section,
    Strip,
    Table,
    Tone,
    Verdict,
)
from limelight.report.page import html as html
from limelight.report.pictures import inlined as inlined

__all__ = [
    "Bar",
    "Bars",
    "Beside",
    "Block",
    "Cell",
    "ContactSheet",
    "Counts",
    "Folded",
    "Gallery",
    "Group",
    "Level",
    "Note",
    "Number",
    "Numbers",
    "Page",
    "Picture",
    "Plot",
    "Prose",
    "ScaleKey",
    "Section",
    "Strip",
    "Table",
    "Tone",
    "Verdict",
    "html",
    "inlined",
    "plots",
]
