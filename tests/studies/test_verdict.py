"""chapters/verdict.py and biased.py: the same rules for every study, and sentences that say what was found."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from limelight.statistics import wilson
from limelight.studies.chapters import biased, looked
from limelight.studies.chapters.verdict import verdict
from limelight.studies.gaze import BORDER, CORNERS, MIDDLE, OBJECT, Gaze, Share
from limelight.studies.words import count, listed, moves, points, signed


def reported(right: int, of: int = 400, **facts) -> dict:
    classes = {name: {"pictures": of // 2, "recall": 1.0, "precision": 1.0} for name in ("rice", "beans")}
    return {"pictures": of, "accuracy": right / of, "interval": list(wilson(right, of)), "classes": classes, **facts}


def gazing(on_object: float | None = 0.4, corners: float = 0.1) -> Gaze:
    shares = [Share(place, 0.2, None, 0.25, 50) for place in (MIDDLE, BORDER)]
    shares.append(Share(CORNERS, corners, None, 0.25, 50))
    if on_object is not None:
        shares.append(Share(OBJECT, on_object, None, 0.2, 50, ceiling=0.5))
    return Gaze("all", 50, 0, tuple(shares), np.zeros((2, 2)))


def found(low: float, **facts) -> dict:
    used = {"effect": low + 0.1, "interval": [low, low + 0.2], "removed": 0.1, "inserted": None, "cases": 32}
    return {
        "kind": "mark",
        "name": "mark",
        "class": "rice",
        "accuracy_alone": 0.93,
        "interval": [0.9, 0.96],
        "used": used,
        "sentence": "the same mark is found in 95 % of the pictures of rice.",
        "regions": [],
        "cases": 200,
        "outside": None,
        **facts,
    }


@pytest.mark.parametrize(
    ("report", "gaze", "findings", "level", "words"),
    [
        (reported(396), gazing(), [], "good", "it looks at the object"),
        (reported(396), gazing(None), [], "good", "nothing speaks against its reasons"),
        (reported(210), gazing(), [], "bad", "no better than guessing"),
        (reported(396), gazing(), [found(0.1)], "bad", "not only for the right reasons"),
        (reported(396), gazing(), [found(-0.1)], "care", "hold a bias"),
        (reported(360), gazing(), [], "care", "on others it may be right on only"),
        (reported(396), gazing(0.2), [], "care", "beside the object"),
        (reported(396), gazing(None, corners=0.5), [], "care", "corners"),
        (reported(60, 60), gazing(), [], "care", "only 60 pictures were tested"),
        (
            reported(396, duplicates=["a and b are the same picture, in train and in test"]),
            gazing(),
            [],
            "care",
            "also learnt from",
        ),
        (reported(396, duplicates=["a and b are the same picture, both in test"]), gazing(), [], "good", "looks at"),
        (reported(396), gazing(0.3), [], "good", "nothing speaks against its reasons"),
    ],
)
def test_the_rules(report, gaze, findings, level, words):
    judged = verdict(report, gaze, None, findings)
    assert judged.level == level
    assert words in judged.headline
    assert [title for title, _ in judged.points][-1] == "What should I do?"


def test_the_bias_is_named_with_what_it_does():
    assert biased.answer([found(0.1)]) == (
        "Yes: a mark gives “rice” away, right by itself in 93%, and the network goes by it."
    )
    assert "was not seen to go by it (1 more finding below)" in biased.answer([found(-0.1), found(-0.1)])
    assert biased.answer([]).startswith("No bias was found")
    judged = verdict(reported(396), gazing(), None, [found(0.1)])
    assert "No: a mark gives" in dict(judged.points)["Can I trust it?"]


def test_a_finding_is_shown_where_it_is(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "one.png")
    regions = [{"path": str(tmp_path / "one.png"), "box": [40, 20, 60, 40]}]
    section = biased.section([found(0.1, regions=regions, outside=0.8)], 200)
    group = section.blocks[1]
    numbers, close, whole = group.blocks
    assert group.title == "1. A mark, with rice"
    assert [number.value for number in numbers.numbers] == ["93%", "+20 points", "-10 points", "80%"]
    assert all(number.basis.startswith("rests on") for number in numbers.numbers)
    assert [picture.caption for picture in (*close.pictures, *whole.pictures)] == ["one.png", "one.png"]


def test_what_could_not_be_searched_is_said():
    section = biased.section(None, 4, "a class has too few pictures")
    assert section.answer == "That could not be searched."
    assert section.blocks[0].text == "a class has too few pictures"


@pytest.mark.parametrize(
    ("gaze", "words"),
    [
        (gazing(0.45), "Mostly at the object: 45% of its maps falls on it; an even map would have 20% there"),
        (gazing(0.22), "Only partly at the object"),
        (gazing(None), "All over the picture"),
        (gazing(None, corners=0.5), "Mostly at the corners: 50% of its maps falls there, 2.0 times"),
        (Gaze("all", 0, 9, (), np.zeros((2, 2))), "every map is empty"),
    ],
)
def test_where_it_looks_in_a_sentence(gaze, words):
    assert words in looked.answer(gaze)


def test_counts_and_lists_as_people_say_them():
    assert [count(1, "picture"), count(1200, "picture")] == ["1 picture", "1,200 pictures"]
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"], "or")] == [
        "nothing",
        "a",
        "a and b",
        "a, b or c",
    ]
    assert listed(list("abcdefgh"), most=2) == "a, b and 6 more"


@pytest.mark.parametrize(
    ("change", "sign", "unit", "said"),
    [
        (0.004, "0", "0 points", "hardly changes"),
        (-0.004, "0", "0 points", "hardly changes"),
        (-0.014, "-1", "-1 point", "falls by 1 point"),
        (0.16, "+16", "+16 points", "rises by 16 points"),
    ],
)
def test_a_change_is_said_as_it_went(change, sign, unit, said):
    assert (signed(change), points(change), moves(change)) == (sign, unit, said)
