"""The parts that a page is made of: plain values, one kind for each thing a reader meets.

A page is a verdict and a list of sections; a section asks a question, answers it in one sentence, and shows what the
answer rests on as blocks. How each looks is the templates' business. Text is text: whatever stands in it is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Tone = Literal["plain", "good", "bad"]
"""How a number is meant; never told by colour alone."""
Level = Literal["good", "care", "bad"]


@dataclass(frozen=True)
class Prose:
    """Paragraphs."""

    kind: ClassVar[str] = "prose"
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Note:
    """An aside: a warning, or how to read what follows."""

    kind: ClassVar[str] = "note"
    text: str
    title: str = ""


@dataclass(frozen=True)
class Number:
    """One figure, large, with what it is and what it rests on ("rests on 120 pictures")."""

    value: str
    label: str
    basis: str
    note: str = ""


@dataclass(frozen=True)
class Numbers:
    """Several figures side by side."""

    kind: ClassVar[str] = "numbers"
    numbers: Sequence[Number]


@dataclass(frozen=True)
class Bar:
    """A share in [0, 1] as a bar: with its interval, and what to compare it with, where there are such."""

    label: str
    value: float
    basis: str
    interval: tuple[float, float] | None = None
    reference: float | None = None
    tone: Tone = "plain"


@dataclass(frozen=True)
class Bars:
    """Shares to be compared by eye; a table to a screen reader. ``reference`` names what the tick on a bar marks."""

    kind: ClassVar[str] = "bars"
    caption: str
    bars: Sequence[Bar]
    reference: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text. ``numbers`` are the columns set to the right; ``basis`` is what all rows rest on."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    basis: str = ""


@dataclass(frozen=True)
class Counts:
    """A square table of counts shaded by the share of its row: a confusion matrix."""

    kind: ClassVar[str] = "counts"
    caption: str
    rows: str
    columns: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    basis: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing from :mod:`limelight.report.plots`, which is trusted to be SVG and to describe itself."""

    kind: ClassVar[str] = "plot"
    svg: str
    caption: str
    basis: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture inside the page, which can be enlarged.

    Attributes:
        src: a ``data:`` URI (see :func:`limelight.report.pictures.inlined`).
        size: its width and height in pixels.
        alt: what a reader who can't see it should know.
        caption: a line below.
        tags: what a gallery can be filtered by.
    """

    kind: ClassVar[str] = "picture"
    src: str
    size: tuple[int, int]
    alt: str
    caption: str = ""
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class Strip:
    """Pictures that belong together, usually a photograph and its maps, under a title."""

    kind: ClassVar[str] = "strip"
    title: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid; ``filters`` are the tags that it may be narrowed to."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]
    caption: str = ""
    filters: Sequence[str] = ()
    small: bool = False


@dataclass(frozen=True)
class Cell:
    """A picture of a contact sheet with its map, and what it can be found by.

    Attributes:
        photo: the small picture, as JPEG; None where there is none.
        seen: left, top, right and bottom of what the map lies over, in shares of the picture.
        map: rows of the map's strengths, 0 to 255.
        caption: a line below it.
        alt: the same, and more, for who can't see it.
        group: what it is counted among: its predicted class.
        confidence, spread: in [0, 1]; None where there is none.
        right: whether the prediction is the true class; None where that is not known.
        verdict: on the map; empty where there is none.
    """

    photo: bytes | None
    seen: tuple[float, float, float, float]
    map: Sequence[Sequence[int]]
    caption: str
    alt: str
    group: str = ""
    confidence: float | None = None
    spread: float | None = None
    right: bool | None = None
    verdict: str = ""


@dataclass(frozen=True)
class ContactSheet:
    """Any number of pictures, a screen of them at a time, with filters; maps are laid on as they come into sight.

    Attributes:
        cells: the pictures.
        colours: of the maps: three bytes each, from the lowest strength to the highest.
        alpha: how much of a hot pixel is the map's colour.
        full: the strength from which a pixel is coloured in full.
        veil: the colour of what the network did not see, laid on in part.
        page: how many are in sight at a time.
    """

    kind: ClassVar[str] = "sheet"
    cells: Sequence[Cell]
    colours: bytes
    alpha: float
    full: float
    veil: tuple[int, int, int] = (128, 128, 128)
    page: int = 96


@dataclass(frozen=True)
class ScaleKey:
    """What the colours of the maps mean: colours from the lowest value to the highest, and a name for either end."""

    kind: ClassVar[str] = "scale"
    colours: Sequence[str]
    low: str
    high: str
    text: str = ""


@dataclass(frozen=True)
class Beside:
    """Blocks side by side where there is room, below each other where there is not."""

    kind: ClassVar[str] = "beside"
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Group:
    """Blocks under a heading of their own."""

    kind: ClassVar[str] = "group"
    title: str
    blocks: Sequence[Block]
    text: str = ""


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when asked for; printed in any case."""

    kind: ClassVar[str] = "folded"
    title: str
    blocks: Sequence[Block]


Block = (
    Prose
    | Note
    | Numbers
    | Bars
    | Table
    | Counts
    | Plot
    | Picture
    | Strip
    | Gallery
    | ContactSheet
    | ScaleKey
    | Beside
    | Group
    | Folded
)


@dataclass(frozen=True)
class Section:
    """A question, its answer in one sentence, and what the answer rests on.

    Attributes:
        name: a part of the page's address: letters, digits and hyphens.
        question: the heading.
        answer: one sentence; also listed at the top of the page.
        blocks: the evidence.
    """

    name: str
    question: str
    answer: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Verdict:
    """What a reader who reads nothing else should know: a level, a sentence, and a few points with a title each."""

    level: Level
    headline: str
    points: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: the heading.
        kicker: what kind of page it is, above the title.
        facts: names and values that say what was looked at.
        verdict: the summary; None where there is nothing to judge.
        sections: the questions that are answered, in order.
        appendix: what is there to look up; not numbered, without an answer of its own where that is empty.
        colophon: how and by what it was made.
    """

    title: str
    kicker: str
    facts: Sequence[tuple[str, str]]
    verdict: Verdict | None
    sections: Sequence[Section]
    appendix: Sequence[Section] = ()
    colophon: Sequence[str] = ()
