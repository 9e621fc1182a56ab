"""What will be in a picture, before anything is drawn.

Each part of a plan comes from a stream of random numbers of its own. The table, the light, the camera, the clutter
and the colours know nothing of the label: ``plan(7, "rice")`` and ``plan(7, "beans")`` are the same place with the
same choice of colours, so nothing but the grains can tell the classes apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from limelight.data.grains import colours
from limelight.data.grains.arrange import ARRANGEMENTS
from limelight.data.grains.camera import Camera
from limelight.data.grains.lens import Lens
from limelight.data.grains.light import Light
from limelight.data.grains.tables import TABLES
from limelight.data.grains.things import CLUTTER, GRAINS, Thing, crumb
from limelight.errors import InputError

_STREAMS = ("table", "light", "camera", "lens", "palette", "lie", "grains", "clutter", "shortcut")
_FEWEST_GRAINS, _MOST_GRAINS = 5, 190  # with all the clutter there may be, numbers still fit in a byte
_BULKY = ("spoon", "scrap", "leaf", "coin")  # large enough to hide every grain


@dataclass(frozen=True)
class Plan:
    """All that a picture is made of; ``things`` lie on each other in their order, the lowest first."""

    seed: int
    kinds: tuple[str, ...]
    table: str
    table_seed: int
    light: Light
    camera: Camera
    lens: Lens
    arrangement: str
    families: tuple[str, ...]
    things: tuple[Thing, ...]


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one part of a picture."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAMS.index(name),)))


def plan(seed: int, kinds: Sequence[str]) -> Plan:
    """The plan of picture ``seed`` with grains of all ``kinds`` ("rice", "beans").

    Raises InputError for an unknown kind, or a seed that is not a whole number from 0 up.
    """
    if not kinds or not set(kinds) <= set(GRAINS):
        raise InputError(f"There are grains of {', '.join(GRAINS)}; asked for {', '.join(kinds) or 'none'}.")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"A seed is a whole number from 0 up; got {seed!r}.")
    seed = int(seed)
    table_rng, camera = stream(seed, "table"), Camera.sample(stream(seed, "camera"))
    arrangement, families, grains = _grains(seed, kinds, camera)
    return Plan(
        seed=seed,
        kinds=tuple(kinds),
        table=str(table_rng.choice(list(TABLES))),
        table_seed=int(table_rng.integers(2**31)),
        light=Light.sample(stream(seed, "light")),
        camera=camera,
        lens=Lens.sample(stream(seed, "lens")),
        arrangement=arrangement,
        families=tuple(families),
        things=_with_clutter(grains, stream(seed, "clutter"), camera),
    )


def _grains(seed: int, kinds: Sequence[str], camera: Camera) -> tuple[str, list[str], list[Thing]]:
    """The arrangement, the families of colours and the grains; as much of the table is covered by either kind."""
    palette, lie, rng = stream(seed, "palette"), stream(seed, "lie"), stream(seed, "grains")
    families = colours.families(palette, most=3)
    names, odds = list(ARRANGEMENTS), [odds for _, odds in ARRANGEMENTS.values()]
    arrangement = str(lie.choice(names, p=odds))
    bulk = arrangement == "bulk"
    length = math.exp(lie.uniform(math.log(0.17 if bulk else 0.11), math.log(0.27)))
    covered = lie.uniform(0.9, 1.5) if bulk else math.exp(lie.uniform(math.log(0.08), math.log(0.5)))
    samplers = [GRAINS[kind](rng, length, families) for kind in kinds]
    area = float(np.mean([0.8 * grain.length**2 / grain.aspect for grain in (sampler(rng) for sampler in samplers)]))
    count = int(np.clip(round(covered / area), _FEWEST_GRAINS, _MOST_GRAINS))
    places = ARRANGEMENTS[arrangement][0](lie, count, 0.8 * math.sqrt(area))
    things = [samplers[rng.integers(len(samplers))](rng) for _ in range(count)]
    return arrangement, families, [_put(thing, place, rng, camera) for thing, place in zip(things, places, strict=True)]


def _put(thing: Thing, place: np.ndarray, rng: np.random.Generator, camera: Camera) -> Thing:
    x, y = camera.to_table(place[0], place[1])
    return replace(thing, x=float(x), y=float(y), angle=rng.uniform(0, 2 * math.pi))


def _with_clutter(grains: list[Thing], rng: np.random.Generator, camera: Camera) -> tuple[Thing, ...]:
    """The grains with none to five other things under, among and on them; a crumb never comes alone.

    What is large enough to hide every grain lies under them, or on them at the picture's edge.
    """
    things = list(grains)
    for kind in rng.choice(list(CLUTTER), min(5, rng.poisson(1.4)), replace=False):
        if kind == "crumb":
            middle, wide = rng.uniform(-0.4, 0.4, 2), rng.uniform(0.05, 0.4)
            places = middle + rng.normal(0, wide, (rng.integers(4, 25), 2))
            things[:0] = [_put(crumb(rng), place, rng, camera) for place in places]
            continue
        on_top, depth, place = rng.random() < 0.4, rng.random(), rng.uniform(-0.5, 0.5, 2)
        if kind in _BULKY and on_top:
            depth, place = 1.0, place / np.abs(place).max() * rng.uniform(0.42, 0.55)
        thing = _put(CLUTTER[str(kind)](rng), place, rng, camera)
        things.insert(round(depth * len(things)) if on_top else 0, thing)
    return tuple(things)
