"""Is the data set biased, and does the network use it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from limelight.images import read
from limelight.report import Block, Gallery, Group, Note, Number, Numbers, Picture, Prose, Section, inlined
from limelight.report.page import percent
from limelight.studies.chapters.drawing import Box, boxed
from limelight.studies.chapters.words import between, capital, count, pictures

EXAMPLES = 6
"""Pictures that are shown for each finding."""
CLOSE = 1.6
"""How much wider than its box a close-up is."""
_KINDS = {
    "mark": "A mark",
    "place": "A place",
    "background": "The background",
    "tint": "The colour of the light",
    "sharpness": "Sharpness and noise",
    "border": "What lies at the border",
    "metadata": "What the files give away",
    "concept": "A thing beside the object",
}


def used(finding: Mapping[str, Any]) -> bool:
    """Whether the network's answers depend on it: the interval of its effect leaves 0 out."""
    effect = finding["used"] or {}
    return effect.get("interval") is not None and effect["interval"][0] > 0


def section(findings: Sequence[Mapping[str, Any]], root: Path, tried: str = "") -> Section:
    """What tells the classes apart without being the object, strongest first, and whether the network goes by it.

    Args:
        findings: as in study.json.
        root: what the paths of their regions are relative to.
        tried: what was looked for, in a sentence.
    """
    blocks: list[Block] = [
        Prose(
            [
                "Two questions, asked apart: what in these pictures tells the classes from each other without being "
                "the object, and does the network go by it? Each candidate is painted over where it is and put into "
                "pictures of the other class where it is not; how far that moves the network's answer, beyond what the "
                "same done with something harmless moves it, is its effect."
            ]
        )
    ]
    if tried:
        blocks.append(Note(tried, "What was looked for."))
    blocks += [_finding(number, finding, root) for number, finding in enumerate(findings, 1)]
    return Section("biased", "Is the data set biased, and does the network use it?", answer(findings), blocks)


def answer(findings: Sequence[Mapping[str, Any]]) -> str:
    """In one sentence."""
    if not findings:
        return "No bias was found: nothing but the object tells the classes apart, as far as was looked."
    first = findings[0]
    more = f" ({count(len(findings) - 1, 'more finding')} below)" if len(findings) > 1 else ""
    goes = "and the network goes by it" if used(first) else "though the network does not go by it"
    return f"Yes: {_short(first)}, {goes}{more}."


def _short(finding: Mapping[str, Any]) -> str:
    what = str(_KINDS.get(finding["kind"], finding["kind"]))
    what = what[:1].lower() + what[1:]
    return f"{what} gives “{finding['class']}” away and is right by itself in {percent(finding['accuracy_alone'])}"


def _finding(number: int, finding: Mapping[str, Any], root: Path) -> Group:
    regions = finding.get("regions") or []
    basis = pictures(finding["pictures"]) if finding.get("pictures") else _rests(regions)
    numbers = [
        Number(
            percent(finding["accuracy_alone"]),
            "right by this alone",
            basis,
            _interval(finding.get("interval")),
        )
    ]
    if effect := finding.get("used"):
        value = effect["effect"]
        told = f"{value * 100:+.0f} points" if -1 <= value <= 1 else f"{value:+.2f}"
        low_high = effect.get("interval")
        detail = f"{low_high[0] * 100:+.0f} to {low_high[1] * 100:+.0f}, at 95% confidence" if low_high else ""
        basis = pictures(effect["pictures"]) if effect.get("pictures") else basis
        numbers.append(Number(told, "what it moves the network's answer", basis, detail))
    blocks: list[Block] = [Numbers(numbers)]
    if shown := _shown(regions, root):
        whole, close = shown
        blocks.append(Gallery(close, "Close up, where it was found:", small=True))
        blocks.append(Gallery(whole, "In the pictures:"))
    kind = _KINDS.get(finding["kind"], finding["kind"])
    return Group(f"{number}. {kind}: {finding['class']}", blocks, capital(finding["sentence"]))


def _interval(interval: Sequence[float] | None) -> str:
    return f"{between(interval)}, at 95% confidence" if interval else ""


def _rests(regions: Sequence[Mapping[str, Any]]) -> str:
    return f"found in {count(len({region['path'] for region in regions}), 'picture')}" if regions else ""


def _shown(regions: Sequence[Mapping[str, Any]], root: Path) -> tuple[list[Picture], list[Picture]] | None:
    """The first pictures with their boxes, and the boxes close up."""
    boxes: dict[str, list[Box]] = {}
    for region in regions:
        boxes.setdefault(str(region["path"]), []).append(tuple(region["box"]))
    whole, close = [], []
    for path, own in list(boxes.items())[:EXAMPLES]:
        photo = read(root / path).pil()
        name = Path(path).name
        whole.append(inlined(boxed(photo, own), f"{name} with a box around what was found", name))
        close.append(inlined(_close(photo, own[0]), f"What was found in {name}, close up", name, side=200))
    return (whole, close) if whole else None


def _close(photo: Image.Image, box: Box) -> Image.Image:
    left, top, right, bottom = box
    half = max(right - left, bottom - top, 16) * CLOSE / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    x = min(max(x, half), max(photo.width - half, half))
    y = min(max(y, half), max(photo.height - half, half))
    part = photo.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return part.resize((200, 200), Image.Resampling.BICUBIC)
