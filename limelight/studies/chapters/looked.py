"""What does it look at?"""

from __future__ import annotations

from collections.abc import Sequence

from limelight import colormaps
from limelight.explanation import Explanation
from limelight.report import Bar, Bars, Beside, Block, Group, Note, Picture, Prose, ScaleKey, Section, Strip
from limelight.report.page import percent
from limelight.studies.chapters.drawing import fine, mean_map, overlaid, photograph
from limelight.studies.gaze import BORDER, CORNERS, MIDDLE, OBJECT, Gaze, Share
from limelight.studies.looks import PREDICTED, Looks
from limelight.studies.resting import Resting
from limelight.studies.words import count, pictures

CLASSES = 8
"""Classes that are shown; of the others the numbers are in the JSON."""
REFERENCE = "its share of the picture"
_TOLD = {
    OBJECT: "the object (by the masks)",
    MIDDLE: "the middle",
    BORDER: "the border",
    CORNERS: "the corners",
}


def section(
    looks: Looks,
    overall: Gaze,
    classes: Sequence[Gaze],
    chosen: Sequence[Sequence[int]],
    guided: Explanation | None,
    rests: Resting | None = None,
) -> Section:
    """Where the maps fall, over all and class by class.

    Args:
        looks: the sample.
        overall: the gaze over all pictures.
        classes: the gaze at each class's pictures.
        chosen: for each class the pictures that are shown.
        guided: Guided Grad-CAM of the chosen ones, in their order.
        rests: what the answers rest on, where there are masks.
    """
    blocks: list[Block] = [
        Prose(
            [
                "A map (Grad-CAM) shows which part of a picture spoke for what the network said. A mean over many "
                "pictures shows habits: a network that knows the object looks wherever the object is; one that always "
                "looks at the same corner has learnt something else."
            ]
        ),
        key(),
        bars("Where the maps fall, over all classes", overall),
    ]
    if overall.empty:
        text = "nothing in them spoke for what the network said. They are left out of the shares."
        blocks.append(Note(text, f"{count(overall.empty, 'picture')} had an empty map:"))
    if rests is not None:
        blocks.append(_rests(rests))
    numbers = {number: place for place, number in enumerate(each for one in chosen for each in one)}
    for gaze, own in list(zip(classes, chosen, strict=True))[:CLASSES]:
        blocks.append(_of_class(looks, gaze, own, guided, numbers))
    if len(classes) > CLASSES:
        blocks.append(Note(f"The first {CLASSES} of {len(classes)} classes are shown; study.json has the others."))
    return Section("looks", "What does it look at?", answer(overall), blocks)


def _rests(rests: Resting) -> Note:
    """What happens without the object, and without all else."""
    if rests.interval is None:
        said = "Blurring either the object or all else hardly changes what it says"
    else:
        low, high = rests.interval
        said = (
            f"Of the effect of taking either away (blurring it until nothing is in it), {percent(rests.outside)} "
            f"({percent(low)} to {percent(high)}) lies outside the object: the log-odds of what it said change by "
            f"{-rests.on_object:+.1f} without the object and by {-rests.on_rest:+.1f} without all else"
        )
    return Note(f"{said} ({count(rests.pictures, 'picture')} with masks).", "What its answers rest on.")


def answer(gaze: Gaze) -> str:
    """In one sentence."""
    if not gaze.pictures:
        return "Nothing: every map is empty, so no part of a picture spoke for what it said."
    on_object, middle, corners = gaze.share(OBJECT), gaze.share(MIDDLE), gaze.share(CORNERS)
    assert middle is not None
    assert corners is not None
    if on_object is not None:
        assert on_object.ceiling is not None
        verb = "Mostly at the object" if mostly(on_object) else "Only partly at the object"
        return (
            f"{verb}: {percent(on_object.mean)} of its maps falls on it; an even map would have "
            f"{percent(on_object.area)} there, and one that follows the object, as coarse as these are, "
            f"{percent(on_object.ceiling)} ({count(on_object.pictures, 'picture')} with masks)."
        )
    place = max((middle, corners), key=lambda one: one.times)
    if place.times < 1.25:
        return (
            f"All over the picture: no place draws it more than its size would ({count(gaze.pictures, 'picture')}); "
            "without masks it can't be said how much of that is the object."
        )
    return (
        f"Mostly at {place.place}: {percent(place.mean)} of its maps falls there, {place.times:.1f} times as much as "
        f"its size would explain ({count(gaze.pictures, 'picture')})."
    )


def mostly(on_object: Share) -> bool:
    """Whether the maps are nearer to a perfect one, as coarse as they are, than to an even one."""
    assert on_object.ceiling is not None
    return on_object.mean >= (on_object.area + on_object.ceiling) / 2


def key() -> ScaleKey:
    """What the colours mean."""
    ramp = colormaps.colormap(colormaps.DEFAULT)
    colours = ["#{:02x}{:02x}{:02x}".format(*ramp[i]) for i in range(0, len(ramp), 17)]
    text = (
        "Where there is no evidence a photograph keeps its own colours. Each map is scaled to its own strongest place."
    )
    return ScaleKey(colours, "little evidence", "strongest evidence", text)


def bars(caption: str, gaze: Gaze) -> Bars:
    """The shares of one gaze, each with the share of the picture that the place covers."""
    found = [
        Bar(_TOLD[each.place], each.mean, pictures(each.pictures), each.interval, each.area) for each in gaze.shares
    ]
    return Bars(caption, found, REFERENCE)


def _of_class(
    looks: Looks, gaze: Gaze, own: Sequence[int], guided: Explanation | None, places: dict[int, int]
) -> Group:
    blocks: list[Block] = []
    if gaze.pictures:
        alt = f"The mean map of {count(gaze.pictures, 'picture')} of {gaze.name}"
        mean = mean_map(gaze.mean_map, alt, f"mean map, {pictures(gaze.pictures)}")
        blocks.append(Beside([Strip("Where it looks on average", [mean]), bars("Where the maps fall", gaze)]))
    strips = [_strip(looks, number, guided, places[number]) for number in own]
    if not strips:
        blocks.append(Note(f"It got no picture of {gaze.name} right."))
    blocks += [Beside(strips[i : i + 2]) for i in range(0, len(strips), 2)]
    return Group(f"Pictures of {gaze.name}", blocks)


def _strip(looks: Looks, number: int, guided: Explanation | None, place: int) -> Strip:
    sample = looks.sample
    name, said = sample.names[number], sample.classes[sample.predicted[number]]
    shown: list[Picture] = [
        photograph(looks, number),
        overlaid(looks, number, PREDICTED, f"Grad-CAM: why “{said}”"),
    ]
    if guided is not None:
        shown.append(fine(guided, place, name, "Guided Grad-CAM: in fine lines"))
    return Strip(f"{said}, {percent(float(sample.confidence[number]))} sure", shown, name)
