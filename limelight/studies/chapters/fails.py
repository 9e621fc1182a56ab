"""Why does it fail?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limelight.report import Bar, Bars, Block, Group, Note, Prose, Section, Strip
from limelight.report.page import percent
from limelight.studies import failures
from limelight.studies.chapters.drawing import overlaid, photograph
from limelight.studies.failures import NOWHERE, Place
from limelight.studies.looks import CONTRAST, COUNTER, LABEL, PREDICTED, Looks
from limelight.studies.words import count

SHOWN = 12
"""Mistakes that are shown, unless all are asked for."""
FEWEST = 5
"""Pictures at which a rate of mistakes is worth a bar."""


def section(looks: Looks, places: Sequence[Place], mistakes: Looks | None, everything: bool = False) -> Section:
    """The mistakes, grouped by where the network looked; and how often it was wrong for having looked there.

    Args:
        looks: the sample, for the rates.
        places: its pictures by where the network looked.
        mistakes: where the mistakes to be shown are: the sample itself, or others of the same test.
        everything: show them all.
    """
    question = "Why does it fail?"
    if mistakes is None or mistakes.sample.right.all():
        text = "There is no mistake to look at. That can mean that the task is easy, or that the test is."
        return Section("fails", question, answer(looks, places), [Note(text)])
    blocks: list[Block] = []
    if not looks.sample.right.all():
        blocks.append(_rates(looks, places))
    blocks.append(
        Prose(
            [
                "For each mistake: what spoke for the class that it named, what it found of the true class, what made "
                "it say the one rather than the other, and what spoke against what it said. If that last part had "
                "been stronger, it would have changed its mind (the counterfactual map)."
            ]
        )
    )
    own = places if mistakes is looks else failures.places(mistakes)
    wrong = int((~mistakes.sample.right).sum())
    left = wrong if everything else SHOWN
    share = failures.object_share(mistakes)
    for place in own:
        shown = place.wrong[:left]
        left -= len(shown)
        if shown:
            strips = [_strip(mistakes, number, share) for number in shown]
            blocks.append(Group(f"When it looked {at(place)}", strips, count(len(place.wrong), "mistake") + "."))
    if not everything and wrong > SHOWN:
        blocks.append(Note(f"{count(wrong - SHOWN, 'more mistake')} not shown here; --full shows all of them."))
    return Section("fails", question, answer(looks, places), blocks)


def at(place: Place) -> str:
    """Where, as it follows "looked"."""
    return f"at {place.name}" if place.name.startswith("the ") else place.name


def answer(looks: Looks, places: Sequence[Place]) -> str:
    """In one sentence."""
    sample = looks.sample
    wrong = int((~sample.right).sum())
    if not wrong:
        return f"It made no mistake on the {count(len(sample), 'picture')} looked at here."
    start = f"It was wrong on {wrong:,} of {count(len(sample), 'picture')}"
    worst = places[0]
    where = at(worst)
    if wrong == 1:
        return f"{start}; it looked {where}."
    if worst.name == NOWHERE:
        return f"{start}; on {len(worst.wrong)} of these nothing in the picture spoke for what it said."
    return f"{start}; on {len(worst.wrong)} of these it looked {where}."


def _rates(looks: Looks, places: Sequence[Place]) -> Bars:
    overall = float((~looks.sample.right).mean())
    bars = [
        Bar(
            place.name,
            place.rate,
            f"{len(place.wrong)} of {count(len(place.numbers), 'picture')}",
            place.interval,
            overall,
            "bad" if len(place.wrong) > 2 and place.interval[0] > overall else "plain",
        )
        for place in places
        if len(place.numbers) >= FEWEST
    ]
    few = [place for place in places if len(place.numbers) < FEWEST]
    if few:
        numbers = sum(len(place.numbers) for place in few)
        mistakes = sum(len(place.wrong) for place in few)
        rest = Place("elsewhere", tuple(range(numbers)), tuple(range(mistakes)))
        basis = f"{mistakes} of {count(numbers, 'picture')}"
        bars.append(Bar("elsewhere", rest.rate, basis, rest.interval, overall))
    return Bars("How often it was wrong, by where it looked", bars, "overall")


def _strip(looks: Looks, number: int, share: np.ndarray) -> Strip:
    sample = looks.sample
    name = sample.names[number]
    said, true = sample.classes[sample.predicted[number]], sample.classes[sample.labels[number]]
    pictures = [
        photograph(looks, number, f"photograph of {true}"),
        overlaid(looks, number, PREDICTED, f"why “{said}”, which is wrong"),
        overlaid(looks, number, LABEL, f"what it found of “{true}”"),
        overlaid(looks, number, CONTRAST, f"why “{said}” rather than “{true}”"),
        overlaid(looks, number, COUNTER, f"what spoke against “{said}”"),
    ]
    on_object = "" if np.isnan(share[number]) else f"; {percent(float(share[number]))} of the map was on the object"
    return Strip(
        f"{true} taken for {said}, {percent(float(sample.confidence[number]))} sure", pictures, name + on_object
    )
