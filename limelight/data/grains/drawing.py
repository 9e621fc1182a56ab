"""Draw a plan: the picture, where its grains are, and where its shortcut is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from limelight.data.grains import lens as lenses
from limelight.data.grains import shortcuts
from limelight.data.grains.camera import Camera, pixel_grid
from limelight.data.grains.planning import Plan, plan, stream
from limelight.data.grains.shapes import Surface
from limelight.data.grains.skins import LOOKS
from limelight.data.grains.tables import TABLES, TableTop, checked_blue
from limelight.data.grains.things import GRAINS
from limelight.errors import InputError

SMALLEST = 32


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawn picture, ``size`` pixels square.

    image: (size, size, 3) uint8 RGB.
    instances: (size, size) uint8; 0 is the table, i is the thing ``parameters["objects"][i - 1]``.
    mask: (size, size) bool, where grains are.
    shortcut_mask: (size, size) bool, where the shortcut is: the mark, the bare table for a background, all for a tint.
    label: "rice", "beans", or both joined by "+" for a mixed scene.
    parameters: what is in the picture, ready for JSON: seed, size, table, arrangement, colour families, light, camera
    and lens by their numbers; ``counts`` of visible things by kind; ``shortcut`` (its kind or None); and ``objects``,
    each {"kind", "grain", "box": [x0, y0, x1, y1] of its visible part in pixels or None, "area" in pixels}.
    """

    image: np.ndarray
    instances: np.ndarray
    mask: np.ndarray
    shortcut_mask: np.ndarray
    label: str
    parameters: dict[str, Any] = field(repr=False)


def render(seed: int, label: str, size: int = 224, shortcut: str | None = None) -> Scene:
    """The picture ``seed`` of "rice" or "beans", ``size`` pixels square; a pure function of its arguments.

    ``shortcut`` is the kind to plant in it, or None; the picture is the same but for that. The same ``seed`` with the
    other label is the same table, light and choice of colours with the other grains; another size is the same scene
    at another resolution. Bit-for-bit the same on one machine with one version of limelight, numpy and Pillow.

    Raises InputError for an unknown label or shortcut, a size under 32, or a negative seed.
    """
    return draw(plan(seed, (label,)), size, shortcut)


def draw(plan: Plan, size: int = 224, shortcut: str | None = None) -> Scene:
    """The picture of a plan, which may hold both kinds of grains; see ``render``."""
    if size < SMALLEST:
        raise InputError(f"A picture is at least {SMALLEST} pixels wide; got {size}.")
    if shortcut is not None:
        shortcuts.check_kind(shortcut)
    if shortcut == "tint":
        lamp = plan.light
        red, green, blue = (own * amber for own, amber in zip(lamp.colour, shortcuts.AMBER, strict=True))
        plan = replace(plan, light=replace(lamp, colour=(red, green, blue)))
    light, instances = _scene(plan, size, checked_blue if shortcut == "background" else TABLES[plan.table])
    screen, on_mark = _photograph(plan, light, shortcut)
    mask = np.isin(instances, [i for i, thing in enumerate(plan.things, 1) if thing.kind in GRAINS])
    if shortcut in shortcuts.ON_TABLE:  # the mark lies on the grains
        mask, instances = mask & ~on_mark, np.where(on_mark, 0, instances).astype(np.uint8)
    return Scene(
        image=lenses.store(screen, plan.lens),
        instances=instances,
        mask=mask,
        shortcut_mask=_where(shortcut, instances, on_mark),
        label="+".join(plan.kinds),
        parameters=_parameters(plan, instances, shortcut),
    )


def _where(shortcut: str | None, instances: np.ndarray, on_mark: np.ndarray) -> np.ndarray:
    if shortcut == "background":
        return instances == 0
    return np.ones_like(on_mark) if shortcut == "tint" else on_mark


def _scene(plan: Plan, size: int, top: TableTop) -> tuple[np.ndarray, np.ndarray]:
    """The light (size, size, 3) that reaches the lens, and the thing at each pixel (size, size)."""
    x, y = plan.camera.to_table(*pixel_grid(size))
    canvas = _table(top, x, y, plan)
    instances = np.zeros((size, size), np.uint8)
    for number in range(1, len(plan.things) + 1):
        _lay(canvas, instances, number, plan, x, y)
    canvas *= np.array(plan.light.colour, np.float32) * plan.light.exposure
    canvas *= plan.light.over_table(x, y)[..., None]
    return canvas, instances


def _table(top: TableTop, x: np.ndarray, y: np.ndarray, plan: Plan) -> np.ndarray:
    albedo, relief = top(x, y, np.random.default_rng(plan.table_seed))
    down, right = np.gradient(relief, 1 / len(x))
    length = np.sqrt(1 + down * down + right * right)
    surface = Surface(np.zeros_like(x), (-right / length, -down / length, 1 / length), x, y)
    return plan.light.on(surface, albedo, gloss=0.0, polish=1.0)


def _lay(canvas: np.ndarray, instances: np.ndarray, number: int, plan: Plan, x: np.ndarray, y: np.ndarray) -> None:
    """Lay thing ``number`` on what is there already, its shadow first; changes ``canvas`` and ``instances``."""
    thing, light = plan.things[number - 1], plan.light
    lean_x, lean_y = (towards / light.towards[2] * thing.height * 0.8 for towards in light.towards[:2])
    fade = light.softness * thing.height + 1 / len(canvas)
    reach = thing.reach + math.hypot(lean_x, lean_y) + fade
    window = _window(thing.x, thing.y, reach, len(canvas), plan.camera)
    x, y, under = x[window] - thing.x, y[window] - thing.y, canvas[window]
    if not under.size:
        return
    shape, skin = LOOKS[thing.kind]
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    u, v = x * cos + y * sin, y * cos - x * sin
    lean_u, lean_v = lean_x * cos + lean_y * sin, lean_y * cos - lean_x * sin
    surface = shape(thing, u, v).turned(thing.angle)
    in_shade = np.clip(0.5 - shape(thing, u + lean_u, v + lean_v).distance / fade, 0, 1)
    near = np.exp(-np.clip(surface.distance, 0, None) / (0.4 * thing.height))
    lost = 0.85 * (1 - light.ambient) * in_shade * in_shade * (3 - 2 * in_shade) + 0.4 * light.ambient * near
    under *= (1 - lost)[..., None]
    albedo, opacity = skin(thing, surface)
    pixel = math.sqrt(float(np.ptp(x)) * float(np.ptp(y)) / x.size)
    cover = np.clip(0.5 - surface.distance / pixel, 0, 1) if pixel else np.zeros_like(x)
    under += (light.on(surface, albedo, thing.gloss, thing.polish, thing.bleed) - under) * (cover * opacity)[..., None]
    instances[window][cover > 0.5] = number


def _window(x: float, y: float, reach: float, size: int, camera: Camera) -> tuple[slice, slice]:
    """The pixels (rows, columns) that may show what lies within ``reach`` of a place on the table."""
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * reach + (x, y)
    across, down = (np.clip((side + 0.5) * size, 0, size) for side in camera.to_picture(corners[:, 0], corners[:, 1]))
    return (
        slice(math.floor(down.min()), math.ceil(down.max())),
        slice(math.floor(across.min()), math.ceil(across.max())),
    )


def _photograph(plan: Plan, light: np.ndarray, shortcut: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The screen values (size, size, 3) of the finished photograph, and where a mark lies on it."""
    marked = np.zeros(light.shape[:2], bool)
    screen = lenses.expose(light, plan.lens)
    rng = stream(plan.seed, "shortcut")
    if shortcut in shortcuts.ON_TABLE:
        screen, marked = _marked(screen, shortcuts.mark(shortcut, rng, len(screen)))
    screen = lenses.sense(lenses.focus(screen, plan.lens), plan.lens)
    if shortcut in shortcuts.ON_PICTURE:
        screen, marked = _marked(screen, shortcuts.mark(shortcut, rng, len(screen)))
    return screen, marked


def _marked(screen: np.ndarray, sheet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    opacity = sheet[..., 3:]
    return screen + (sheet[..., :3] - screen) * opacity, opacity[..., 0] > 0.1


def _parameters(plan: Plan, instances: np.ndarray, shortcut: str | None) -> dict[str, Any]:
    boxes = _boxes(instances, len(plan.things))
    areas = np.bincount(instances.ravel(), minlength=len(plan.things) + 1)[1:]
    objects = [
        {"kind": thing.kind, "grain": thing.kind in GRAINS, "box": box, "area": int(area)}
        for thing, box, area in zip(plan.things, boxes, areas, strict=True)
    ]
    visible = [entry["kind"] for entry in objects if entry["box"]]
    return {
        "seed": plan.seed,
        "size": len(instances),
        "table": plan.table,
        "arrangement": plan.arrangement,
        "families": list(plan.families),
        "light": vars(plan.light),
        "camera": vars(plan.camera),
        "lens": vars(plan.lens),
        "shortcut": shortcut,
        "counts": {kind: visible.count(kind) for kind in sorted(set(visible))},
        "objects": objects,
    }


def _boxes(instances: np.ndarray, count: int) -> list[list[int] | None]:
    """[x0, y0, x1, y1] in pixels, x1 and y1 just outside, of each number from 1 to ``count``; None if nowhere."""
    rows, columns = np.nonzero(instances)
    numbers = instances[rows, columns]
    low = np.full((count + 1, 2), len(instances))
    high = np.zeros((count + 1, 2), int)
    places = np.stack([columns, rows], 1)
    np.minimum.at(low, numbers, places)
    np.maximum.at(high, numbers, places + 1)
    return [[*map(int, a), *map(int, b)] if b.any() else None for a, b in zip(low[1:], high[1:], strict=True)]
