"""Is it fooled?"""

from __future__ import annotations

from typing import Any

from limelight.report import Beside, Block, Note, Plot, Prose, Section, Strip, Table, inlined, plots
from limelight.report.page import percent
from limelight.studies.adversarial import FGSM, NOISE, PGD, TARGETED, Example, Robustness
from limelight.studies.attacks import CERTAIN, PGD_STEPS
from limelight.studies.chapters.drawing import over, pixels
from limelight.studies.looks import Looks
from limelight.studies.words import between, count, figure, pictures

STILL = 0.9
"""From this mean correlation on, maps are said hardly to move."""
_TOLD = {
    FGSM: "FGSM, one step",
    PGD: f"PGD, {PGD_STEPS} steps",
    TARGETED: "targeted, to near-certainty",
    NOISE: "noise, for comparison",
}


def section(looks: Looks, found: Robustness | None) -> Section:
    """Attacks of several sizes, what they did to predictions and maps, and the same of random noise."""
    if found is None:
        return Section("fooled", "Is it fooled?", answer(found), [Note("There was no right prediction to attack.")])
    rows = [attack.as_dict() for attack in found.attacks]
    blocks: list[Block] = [
        Prose(
            [
                "An adversarial picture is changed so little that nobody would see it, and just so that the network "
                "says something else. Each was made here, in whole steps of the pixels' values, so that a saved file "
                "would do the same. Noise of the same size shows what any change that large would do."
            ]
        ),
        _table(rows),
        Beside([_flips(rows), _moves(rows)]),
        Note(claim(found), "What the Grad-CAM paper says of this."),
    ]
    if len(looks.sample.classes) == 2:
        text = (
            "What speaks for the one class is mostly what speaks against the other, so a map of the true class can "
            "hardly outlast an attack that makes the network certain of the other. The paper's networks had 1,000 "
            "classes to go to."
        )
        blocks.append(Note(text, "Two classes are a hard case."))
    blocks += [_example(looks, example) for example in found.examples]
    return Section("fooled", "Is it fooled?", answer(found), blocks)


def answer(found: Robustness | None) -> str:
    """In one sentence."""
    if found is None:
        return "Not measured: it got no picture right that could have been attacked."
    rows = [attack.as_dict() for attack in found.attacks if attack.kind in (PGD, NOISE)]
    strength = min(row["strength"] for row in rows)
    attack = next(row for row in rows if (row["kind"], row["strength"]) == (PGD, strength))
    noise = next(row for row in rows if (row["kind"], row["strength"]) == (NOISE, strength))
    verb = "Yes, easily" if attack["flip_rate"] >= 0.5 else "Sometimes" if attack["flips"] else "Not by so little"
    return (
        f"{verb}: changing no pixel's value by more than {strength} of 255 turned {attack['flips']} of "
        f"{count(attack['pictures'], 'right prediction')} wrong (noise of that size: {noise['flips']})."
    )


def claim(found: Robustness) -> str:
    """What the paper says, and what came out here."""
    said = (
        "Selvaraju et al. 2017 (section 5.3) found that maps of the true class stay where the object is, even when an "
        "attack has made the network certain of something else. "
    )
    attack = found.find(TARGETED, next(one.strength for one in found.attacks if one.kind == TARGETED)).as_dict()
    noise = found.find(NOISE, attack["strength"]).as_dict()
    moved, control = attack["correlation_when_flipped"], noise["correlation"]
    if moved["mean"] is None:
        return f"{said}Here no targeted attack turned a prediction, so there is nothing to compare."
    if moved["mean"] >= STILL:
        comes = "That agrees: the maps hardly moved"
    elif control["mean"] is not None and moved["mean"] >= control["mean"] - 0.05:
        comes = "That agrees as far as it can: the maps moved no more than by noise"
    else:
        comes = (
            "Here it does not hold: the maps moved" if moved["mean"] < 0.5 else "Here it holds in part: the maps moved"
        )
    shares = ""
    before, after = attack["on_object_before"], attack["on_object_after"]
    if before["mean"] is not None and after["mean"] is not None:
        shares = (
            f" The share of these maps on the object went from {percent(before['mean'])} to {percent(after['mean'])} "
            f"({count(after['pictures'], 'picture')})."
        )
    vanished = ""
    if attack["vanished"]:
        vanished = f" On {attack['vanished']} of {attack['pictures']} nothing spoke for the true class any more."
    return (
        f"{said}{comes} (correlation with the map before: {figure(moved)}, {count(moved['pictures'], 'picture')}; by "
        f"noise of the same size: {figure(control)}).{shares}{vanished}"
    )


def _table(rows: list[dict[str, Any]]) -> Table:
    objects = any(row["on_object_before"]["mean"] is not None for row in rows)
    columns = ["attack", "size, of 255", "turned", "sure of what it says", "map correlation", "where turned", "overlap"]
    columns += ["empty maps"] + ["map on the object"] * objects
    cells = []
    for row in rows:
        turned = row["correlation_when_flipped"]
        cell = [
            _TOLD[row["kind"]],
            str(row["strength"]),
            f"{row['flips']} ({between(row['flip_interval'])})",
            percent(row["probability"]["mean"]),
            figure(row["correlation"]),
            "–" if turned["mean"] is None else f"{turned['mean']:.2f}",
            f"{row['overlap']['mean']:.2f}",
            str(row["vanished"]),
        ]
        if objects:
            before, after = row["on_object_before"]["mean"], row["on_object_after"]["mean"]
            cell.append("–" if before is None or after is None else f"{percent(before)} → {percent(after)}")
        cells.append(cell)
    caption = (
        "Each attack, and noise of the same size: how many predictions it turned; and how alike the true class's maps "
        "are before and after, by the correlation of the maps (over all pictures, and over those where the prediction "
        "was turned) and by the overlap of their strongest fifths. 1 is unmoved."
    )
    return Table(caption, columns, cells, tuple(range(1, len(columns))), f"every row {pictures(rows[0]['pictures'])}")


def _flips(rows: list[dict[str, Any]]) -> Plot:
    def values(row: dict[str, Any]) -> tuple[float, tuple[float, float]]:
        low, high = row["flip_interval"]
        return row["flip_rate"], (low, high)

    svg = plots.lines(
        "Predictions turned by attacks of each size",
        _told(rows, lambda row: percent(row["flip_rate"])),
        *_series(rows, values),
        "largest change of a value, of 255",
        "predictions turned",
        (-0.03, 1.03),
    )
    return Plot(svg, "How many predictions are turned, with 95% intervals.", pictures(rows[0]["pictures"]))


def _moves(rows: list[dict[str, Any]]) -> Plot:
    def values(row: dict[str, Any]) -> tuple[float, tuple[float, float]]:
        mean = row["correlation"]["mean"]
        at = float("nan") if mean is None else mean
        low, high = row["correlation"]["interval"] or (at, at)
        return at, (low, high)

    places, series = _series(rows, values)
    lowest = min(min(low for low, _ in one.intervals or ()) for one in series)
    svg = plots.lines(
        "How far the true class's map stays what it was",
        _told(rows, lambda row: figure(row["correlation"])),
        places,
        series,
        "largest change of a value, of 255",
        "correlation of the maps",
        (min(0.0, lowest - 0.05), 1.03),
    )
    return Plot(
        svg, "How alike the true class's maps are, before and after; 1 is unmoved.", pictures(rows[0]["pictures"])
    )


def _series(rows: list[dict[str, Any]], values: Any) -> tuple[list[str], list[plots.Series]]:
    strengths = sorted({row["strength"] for row in rows if row["kind"] in (FGSM, PGD)})
    series = []
    for kind in (FGSM, PGD, NOISE):
        found = {row["strength"]: values(row) for row in rows if row["kind"] == kind}
        own = [found[strength] for strength in strengths]
        series.append(plots.Series(kind, [value for value, _ in own], [interval for _, interval in own]))
    return [str(strength) for strength in strengths], series


def _told(rows: list[dict[str, Any]], say: Any) -> str:
    return "; ".join(f"{row['kind']} at {row['strength']}: {say(row)}" for row in rows if row["kind"] != TARGETED)


def _example(looks: Looks, example: Example) -> Strip:
    sample = looks.sample
    name, true = sample.names[example.number], sample.classes[sample.labels[example.number]]
    target = sample.classes[example.target]
    before, after = (pixels(one) for one in example.pixels)
    change = (example.pixels[1] - example.pixels[0]) * 255
    most = max(float(change.abs().max()), 1.0)
    shown = [
        inlined(before, f"{name} before", "before"),
        inlined(
            pixels(change / (2 * most) + 0.5), f"What was changed in {name}", f"the change, {128 / most:.0f} times"
        ),
        inlined(after, f"{name} after the attack; it looks the same", "after: it looks the same"),
        inlined(over(before, example.maps[0]), f"Map of {true} before", f"why “{true}”, before"),
        inlined(over(after, example.maps[1]), f"Map of {true} after", f"why “{true}”, after"),
        inlined(over(after, example.maps[2]), f"Map of {target} after", f"why “{target}”, after"),
    ]
    done = "as certain as was asked" if example.probability >= CERTAIN else "as far as it went"
    return Strip(f"{true} made to look like {target} to it: {percent(example.probability)}, {done}", shown, name)
