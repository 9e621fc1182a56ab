"""A few of the pictures with the maps that were measured, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from limelight import comparison, report
from limelight.errors import InputError
from limelight.paper.protocol import Bench, probabilities
from limelight.targets import label_of

SHOWN = 4


def strips(bench: Bench, most: int = SHOWN) -> Sequence[report.Strip]:
    """The first pictures, each with every method's map of the class that is there and held most likely."""
    found = []
    for number in range(len(bench.pictures)):
        if len(found) == most:
            break
        try:
            seen = bench.see(number)
        except InputError:  # told elsewhere
            continue
        scores = probabilities(bench.model, seen.image)[0]
        there = seen.shown.answer.union(*(thing.classes for thing in seen.shown.things))
        target = max(there, key=lambda index: float(scores[index]))
        label, name = label_of(target, bench.model.labels), seen.photo.name
        pictures = [report.inlined(seen.photo.pil(), name)]
        for method in bench.methods:
            maps = replace(bench.maps(method, seen.image, [target]), photos=[seen.photo], views=[seen.view])
            drawn = comparison.drawable(maps).overlay()
            pictures.append(report.inlined(drawn, f"{method} of {label} on {name}", method))
        found.append(report.Strip(f"{label}, held for {float(scores[target]):.0%} likely", pictures))
    return found
