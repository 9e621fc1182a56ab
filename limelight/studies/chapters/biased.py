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
from limelight.studies.words import between, capital, count, pictures, points, signed

EXAMPLES = 6
"""Pictures that are shown for each finding."""
CLOSE = 1.6
"""How much wider than its box a close-up is."""
_KINDS = {"mark": "a mark", "concept": "a thing beside the object"}


def used(finding: Mapping[str, Any]) -> bool:
    """Whether the network's answers depend on it: the interval of its effect leaves 0 out."""
    return finding["used"]["interval"][0] > 0


def section(findings: Sequence[Mapping[str, Any]] | None, searched: int, why_not: str = "") -> Section:
    """What tells the classes apart without being the object, strongest first, and whether the network goes by it.

    Args:
        findings: as in study.json; None where it could not be searched.
        searched: how many pictures were.
        why_not: why it could not be.
    """
    question = "Is the data set biased, and does the network use it?"
    if findings is None:
        return Section("biased", question, answer(findings), [Note(why_not)])
    blocks: list[Block] = [
        Prose(
            [
                f"Two questions, asked apart, of the {count(searched, 'picture')} that it learnt from: what in them "
                "tells the classes from each other without being the object, and does the network go by it? Looked for "
                "were marks that repeat, colours, brightness, sharpness and noise, the border, the side on which lies "
                "what it looks at, and what the files give away. Each candidate is then taken out of pictures that "
                "have it and put into pictures of other classes; how far that moves the network's answer, beyond a "
                "control of the same size, is its effect."
            ]
        )
    ]
    blocks += [_finding(number, finding) for number, finding in enumerate(findings, 1)]
    return Section("biased", question, answer(findings), blocks)


def answer(findings: Sequence[Mapping[str, Any]] | None) -> str:
    """In one sentence."""
    if findings is None:
        return "That could not be searched."
    if not findings:
        return "No bias was found: as far as was looked, nothing but the object tells the classes apart."
    first = findings[0]
    more = f" ({count(len(findings) - 1, 'more finding')} below)" if len(findings) > 1 else ""
    goes = "and the network goes by it" if used(first) else "but the network was not seen to go by it"
    return f"Yes: {_short(first)}, {goes}{more}."


def _short(finding: Mapping[str, Any]) -> str:
    return f"{_name(finding)} gives “{finding['class']}” away, right by itself in {percent(finding['accuracy_alone'])}"


def _name(finding: Mapping[str, Any]) -> str:
    """What it is, in words: "a mark", "the colour cast"."""
    if finding["kind"] in _KINDS:
        return _KINDS[finding["kind"]]
    return f"the {finding['name']}"


def _finding(number: int, finding: Mapping[str, Any]) -> Group:
    effect = finding["used"]
    basis = pictures(finding["cases"])
    numbers = [
        Number(percent(finding["accuracy_alone"]), "right by this alone", basis, _guessing(finding["interval"])),
    ]
    if effect["cases"]:
        tried = pictures(effect["cases"])
        low, high = effect["interval"]
        detail = f"{signed(low)} to {signed(high)}, corrected for all candidates"
        numbers.append(Number(points(effect["effect"]), "moves the network's answer by", tried, detail))
        if effect["removed"] is not None:
            numbers.append(Number(points(-effect["removed"]), "when it is taken out", tried))
        if effect["inserted"] is not None:
            numbers.append(Number(points(effect["inserted"]), "when it is put in elsewhere", tried))
    if finding["outside"] is not None:
        numbers.append(Number(percent(finding["outside"]), "of it lies off the object", basis))
    blocks: list[Block] = [Numbers(numbers)]
    regions = finding["regions"]
    if regions:
        whole, close = _shown(regions)
        blocks.append(Gallery(close, f"Close up, {len(close)} of {count(len(regions), 'place')}:", small=True))
        blocks.append(Gallery(whole, "In the pictures:"))
    title = f"{number}. {capital(_name(finding))}, with {finding['class']}"
    return Group(title, blocks, capital(finding["sentence"]))


def _guessing(interval: Sequence[float]) -> str:
    return f"{between(interval)}, corrected for all candidates; guessing gets 50%"


def _shown(regions: Sequence[Mapping[str, Any]]) -> tuple[list[Picture], list[Picture]]:
    """A few pictures with their boxes, evenly from all of them, and the boxes close up."""
    boxes: dict[str, list[Box]] = {}
    for region in regions:
        boxes.setdefault(str(region["path"]), []).append(tuple(region["box"]))
    step = max(len(boxes) / EXAMPLES, 1)
    chosen = [list(boxes.items())[int(i * step)] for i in range(min(EXAMPLES, len(boxes)))]
    whole, close = [], []
    for path, own in chosen:
        photo, name = read(path).pil(), Path(path).name
        whole.append(inlined(boxed(photo, own), f"{name} with a box around what was found", name))
        close.append(inlined(_close(photo, own[0]), f"What was found in {name}, close up", name, side=200))
    return whole, close


def _close(photo: Image.Image, box: Box) -> Image.Image:
    left, top, right, bottom = box
    half = max(right - left, bottom - top, 16) * CLOSE / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    x = min(max(x, half), max(photo.width - half, half))
    y = min(max(y, half), max(photo.height - half, half))
    part = photo.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return part.resize((200, 200), Image.Resampling.BICUBIC)
