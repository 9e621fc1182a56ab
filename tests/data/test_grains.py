"""What the rice and beans promise to those who learn and test on them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from limelight.data import grains
from limelight.data.grains import SHORTCUTS, Shortcut, draw, plan, render
from limelight.data.grains.skins import LOOKS
from limelight.data.grains.tables import TABLES, checked_blue
from limelight.data.grains.things import CLUTTER, GRAINS
from limelight.errors import InputError

SIZE = 96
MARKS = ("watermark", "ruler", "sticker", "date")


def without(picture, unwanted):
    return replace(picture, things=tuple(thing for thing in picture.things if not unwanted(thing)))


@pytest.mark.parametrize("label", GRAINS)
def test_the_same_arguments_give_the_same_bytes(label):
    one, other = render(5, label, SIZE, "watermark"), render(5, label, SIZE, "watermark")
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.instances, other.instances)
    assert one.parameters == other.parameters


def test_another_seed_is_another_picture():
    assert not np.array_equal(render(5, "rice", SIZE).image, render(6, "rice", SIZE).image)


def test_shapes_and_types():
    scene = render(2**53, "beans", 100, "tint")
    assert scene.image.shape == (100, 100, 3) and scene.image.dtype == np.uint8
    assert scene.instances.shape == scene.mask.shape == scene.shortcut_mask.shape == (100, 100)
    assert scene.mask.dtype == scene.shortcut_mask.dtype == bool
    assert scene.label == "beans"


def test_labels_share_everything_but_the_grains():
    """What is told apart must be the grains: place, light, camera, clutter and colours don't know the label."""
    for seed in range(20):
        rice, beans = plan(seed, ("rice",)), plan(seed, ("beans",))
        for part in ("table", "table_seed", "light", "camera", "lens", "arrangement", "families"):
            assert getattr(rice, part) == getattr(beans, part)
        clutter = [sorted(repr(t) for t in p.things if t.kind not in GRAINS) for p in (rice, beans)]
        assert clutter[0] == clutter[1]
        assert {t.kind for p in (rice, beans) for t in p.things} <= {"rice", "beans", *CLUTTER}


def test_both_classes_cover_as_much():
    shares = {label: np.mean([render(seed, label, 32).mask.mean() for seed in range(40)]) for label in GRAINS}
    assert shares["rice"] == pytest.approx(shares["beans"], rel=0.25)


@pytest.mark.parametrize("label", GRAINS)
def test_the_mask_is_where_the_grains_are(label):
    """Leave the grains out: what was under the mask changes, what is far from grains and shadows stays."""
    for seed in range(4):
        picture = plan(seed, (label,))
        picture = replace(picture, lens=replace(picture.lens, noise=0.0, quality=None, blur=0.0, depth=0.0))
        full, empty = draw(picture, SIZE), draw(without(picture, lambda thing: thing.kind in GRAINS), SIZE)
        changed = np.abs(full.image.astype(int) - empty.image).max(2) > 4
        assert full.mask.any() and not empty.mask.any()
        assert changed[full.mask].mean() > 0.9
        assert changed[full.mask].mean() > 1.5 * changed[~full.mask].mean()


@pytest.mark.parametrize("size", [64, 150])
def test_another_size_is_the_same_scene(size):
    small, large = render(3, "beans", size), render(3, "beans", 224)
    assert small.mask.mean() == pytest.approx(large.mask.mean(), abs=0.01)
    assert [o["kind"] for o in small.parameters["objects"]] == [o["kind"] for o in large.parameters["objects"]]


def test_boxes_counts_and_areas_follow_the_instances():
    scene = render(8, "beans", SIZE)
    parameters = json.loads(json.dumps(scene.parameters))
    for number, entry in enumerate(parameters["objects"], 1):
        rows, columns = np.nonzero(scene.instances == number)
        assert entry["area"] == len(rows)
        if len(rows):
            assert entry["box"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        else:
            assert entry["box"] is None
    assert parameters["counts"]["beans"] == len(np.unique(scene.instances[scene.mask]))


def test_a_mixed_scene_has_both_kinds():
    scene = draw(plan(4, ("rice", "beans")), SIZE)
    assert scene.label == "rice+beans"
    assert {"rice", "beans"} <= set(scene.parameters["counts"])


def test_instance_numbers_fit_in_a_byte():
    assert max(len(plan(seed, ("rice",)).things) for seed in range(100)) < 256


@pytest.mark.parametrize("kind", SHORTCUTS)
def test_a_shortcut_changes_its_own_place_and_nothing_else(kind):
    picture = plan(12, ("rice",))
    picture = replace(picture, lens=replace(picture.lens, quality=None, blur=0.0, depth=0.0))
    plain, planted = draw(picture, SIZE), draw(picture, SIZE, kind)
    changed = (plain.image != planted.image).any(2)
    where = planted.shortcut_mask
    assert not plain.shortcut_mask.any() and where.any()
    assert changed[where].mean() > 0.8
    if kind in MARKS:
        assert where.mean() < 0.1
        assert changed[~where].mean() < 0.02  # the mark's faint rim
    if kind == "background":
        assert np.array_equal(where, planted.instances == 0)


def test_what_lies_on_the_table_hides_grains_and_leaves_the_mask():
    for seed in range(8):
        scene = render(seed, "rice", SIZE, "ruler")
        assert not (scene.mask & scene.shortcut_mask).any()


def test_the_planted_background_is_no_usual_one():
    assert checked_blue not in TABLES.values()


@pytest.mark.parametrize("kind", LOOKS)
def test_nothing_sticks_out_of_its_reach(kind):
    """Only a window of that radius is drawn: what sticks out would be cut off straight."""
    rng = np.random.default_rng(0)
    around = np.linspace(0, 2 * np.pi, 200, dtype=np.float32)
    for _ in range(50):
        thing = CLUTTER[kind](rng) if kind in CLUTTER else GRAINS[kind](rng, 0.2, ["white"])(rng)
        u, v = thing.reach * np.cos(around), thing.reach * np.sin(around)
        assert LOOKS[kind][0](thing, u, v).distance.min() > 0


@pytest.mark.parametrize("table", TABLES)
def test_table_tops_are_colours(table):
    x, y = np.meshgrid(*[np.linspace(-0.6, 0.6, 40, dtype=np.float32)] * 2)
    for seed in range(8):
        albedo, relief = TABLES[table](x, y, np.random.default_rng(seed))
        assert albedo.shape == (40, 40, 3) and relief.shape == (40, 40)
        assert albedo.dtype == relief.dtype == np.float32  # a stray double would halve the speed
        assert np.isfinite(albedo).all() and albedo.max() < 1.3 and albedo.min() > -0.3


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("watermark:0.95", Shortcut("watermark", 0.95, "rice")),
        ("tint:0.5:beans", Shortcut("tint", 0.5, "beans")),
        ("ruler:1", Shortcut("ruler", 1.0)),
    ],
)
def test_shortcut_specs(spec, expected):
    assert Shortcut.parse(spec) == expected
    assert Shortcut.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("watermrk:0.9", "Did you mean 'watermark'"),
        ("watermark", "KIND:STRENGTH"),
        ("watermark:0.9:rice:x", "KIND:STRENGTH"),
        ("watermark:much", "'much'"),
        ("watermark:1.5", "from 0 to 1"),
        ("watermark:nan", "from 0 to 1"),
        ("watermark:0.9:bean", "Did you mean 'beans'"),
    ],
)
def test_bad_shortcut_specs_are_told(spec, told):
    with pytest.raises(InputError, match=told):
        Shortcut.parse(spec)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((1, "lentils"), "rice, beans"),
        ((-1, "rice"), "seed"),
        ((1.5, "rice"), "seed"),
        ((1, "rice", 8), "at least 32"),
        ((1, "rice", 64, "logo"), "No shortcut 'logo'"),
    ],
)
def test_bad_arguments_are_told(arguments, told):
    with pytest.raises(InputError, match=told):
        render(*arguments)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "grains"
    steps = []
    grains.write(
        folder,
        40,
        size=32,
        shortcut="sticker:0.8:beans",
        splits=(0.5, 0.25, 0.25),
        workers=1,
        progress=lambda done, of: steps.append((done, of)),
    )
    assert steps == [(done, 40) for done in range(41)]
    return folder


def table(folder):
    with (folder / "labels.csv").open() as file:
        return list(csv.DictReader(file))


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_table_says_what_is_there(written):
    rows = table(written)
    assert len(rows) == 40
    assert {row["path"] for row in rows} == {
        str(path.relative_to(written))
        for split in ("train", "val", "test")
        for path in written.glob(f"{split}/*/*.jpg")
    }
    for row in rows:
        assert row["path"].startswith(f"{row['split']}/{row['label']}/")
        mask = np.asarray(Image.open(written / row["mask"]))
        assert float(row["area"]) == pytest.approx((mask > 0).mean(), abs=1e-4)
        assert int(row["count"]) == len(np.unique(mask[mask > 0]))
        assert bool(row["shortcut"]) == bool(row["shortcut_mask"])
        if row["shortcut_mask"]:
            assert set(np.unique(np.asarray(Image.open(written / row["shortcut_mask"])))) == {0, 255}
    last = rows[-1]
    scene = render(int(last["seed"]), last["label"], 32, last["shortcut"] or None)
    assert np.array_equal(np.asarray(Image.open(written / last["mask"])) > 0, scene.mask)


def test_classes_are_balanced_and_shortcuts_as_frequent_as_asked(written):
    counted = {
        (split, label): [
            bool(row["shortcut"]) for row in table(written) if (row["split"], row["label"]) == (split, label)
        ]
        for split in ("train", "val", "test")
        for label in GRAINS
    }
    assert {key: len(bears) for key, bears in counted.items()} == {
        (split, label): n for split, n in (("train", 10), ("val", 5), ("test", 5)) for label in GRAINS
    }
    assert {key: sum(bears) for key, bears in counted.items()} == {
        ("train", "beans"): 8,
        ("train", "rice"): 2,
        ("val", "beans"): 4,
        ("val", "rice"): 1,
        ("test", "beans"): 2,  # in half of either class it tells nothing
        ("test", "rice"): 2,
    }


def test_an_interrupted_job_is_finished_the_same_by_more_workers(written, tmp_path):
    """Killed after three pictures, with a half-written file about: the rest is made, and all is as if undisturbed."""

    class Killed(BaseException):
        pass

    def kill(done, of):
        if done == 3:
            raise Killed

    job = {"size": 32, "shortcut": "sticker:0.8:beans", "splits": (0.5, 0.25, 0.25)}
    with pytest.raises(Killed):
        grains.write(tmp_path, 40, **job, workers=1, progress=kill)
    assert not (tmp_path / "labels.csv").exists()
    (tmp_path / "train" / "rice" / ".1-1.part.rice_00004.jpg").write_bytes(b"half")
    first = tmp_path / "train" / "rice" / "rice_00001.jpg"
    kept = first.stat().st_mtime_ns
    starts = []
    grains.write(tmp_path, 40, **job, workers=2, progress=lambda done, of: starts.append(done))
    assert starts[0] == 3
    assert first.stat().st_mtime_ns == kept
    assert files(tmp_path) == files(written)


def test_a_folder_with_other_things_is_refused(written, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        grains.write(tmp_path, 4)
    with pytest.raises(InputError, match="another set"):
        grains.write(written, 40, size=32)
    with pytest.raises(InputError, match="is a file"):
        grains.write(tmp_path / "thesis.txt", 4)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"n": 1}, "at least 2"),
        ({"n": 4, "size": 16}, "at least 32"),
        ({"n": 4, "seed": -1}, "seed"),
        ({"n": 4, "splits": (0.5, 0.6, 0.1)}, "sum to 1"),
        ({"n": 4, "splits": (0.5, 0.5)}, "three shares"),
        ({"n": 4, "planted": ("training",)}, "train, val, test"),
        ({"n": 4, "shortcut": "moustache:0.9"}, "No shortcut"),
    ],
)
def test_a_job_that_makes_no_sense_leaves_nothing(tmp_path, arguments, told):
    with pytest.raises(InputError, match=told):
        grains.write(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
