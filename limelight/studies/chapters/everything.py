"""What is there to look up: every picture, and how the study was made."""

from __future__ import annotations

from typing import Any

from limelight.report import Gallery, Prose, Section
from limelight.report.page import percent
from limelight.studies.adversarial import TARGETED_STRENGTH, TOP
from limelight.studies.attacks import CERTAIN, PGD_STEPS
from limelight.studies.chapters.drawing import overlaid
from limelight.studies.looks import PREDICTED, Looks
from limelight.studies.words import count

SIDE = 176


def sections(looks: Looks, facts: dict[str, Any]) -> list[Section]:
    """The gallery, then the methods."""
    return [_pictures(looks), _methods(looks, facts)]


def _pictures(looks: Looks) -> Section:
    sample = looks.sample
    shown = []
    for number in range(len(sample)):
        true, said = sample.classes[sample.labels[number]], sample.classes[sample.predicted[number]]
        sure = percent(float(sample.confidence[number]))
        caption = f"{said}, {sure}" if sample.right[number] else f"✕ {said}, {sure}; it is {true}"
        picture = overlaid(looks, number, PREDICTED, caption, SIDE)
        tags = ("right" if sample.right[number] else "wrong", f"it is {true}")
        shown.append(type(picture)(picture.src, picture.size, picture.alt, caption, tags))
        looks.explanation.photos[number].release()
    filters = ("right", "wrong", *(f"it is {name}" for name in sample.classes[:8]))
    present = {tag for picture in shown for tag in picture.tags}
    caption = "Why it said what it said; ✕ marks what is wrong."
    gallery = Gallery(shown, caption, [name for name in filters if name in present], small=True)
    return Section("pictures", "Every picture that was looked at", "", [gallery])


def _methods(looks: Looks, facts: dict[str, Any]) -> Section:
    of = f"{count(len(looks.sample), 'test picture')} of {facts['pictures']['test']:,}"
    paragraphs = [
        f"Maps are Grad-CAM's of the class's score at layer “{looks.explanation.layer}”, of the picture as the network "
        f"was shown it. Shares are of the rectified map. {of} were looked at, drawn at random, of each class its "
        "share; none was learnt from.",
        "The middle is the middle half of either side (a quarter of the picture), the border an eighth of the side "
        "all around (44%), the corners a quarter of the side each (a quarter of the picture); they overlap. Where a "
        "network looked is the ninth of the picture that holds most of its map, if that is at least a fifth of it.",
        f"PGD takes {PGD_STEPS} steps of 2.5 times the size divided by their number. The targeted attack may change "
        f"a value by {TARGETED_STRENGTH} of 255 and stops at {percent(CERTAIN)}. Map correlation is Pearson's, of the "
        f"raw maps of the true class; overlap is of their strongest {percent(TOP)} (intersection over union). Only "
        "pictures that the network had right are attacked.",
        "Intervals are at 95% confidence: Wilson's for shares of pictures, the percentile bootstrap's (over pictures) "
        "for means.",
    ]
    return Section("methods", "How this was made", "", [Prose(paragraphs)])
