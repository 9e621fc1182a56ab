"""Many files: each gets its record, in order, whatever the others are."""

from __future__ import annotations

from pathlib import Path

import pytest

from limelight import pipeline
from limelight.errors import LayerError, TargetError
from limelight.models import Model
from limelight.overlays import Overlays
from limelight.pipeline import explain_files
from tests.networks import Plain
from tests.pictures import noise, write_broken
from tests.tiny import tiny


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny()


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    found = [tmp_path / f"{name}.png" for name in "abcde"]
    for number, path in enumerate(found):
        noise(number).save(path)
    return found


def test_records_come_in_the_order_of_the_files(model, paths, tmp_path):
    """Also where some can't be used: a record must never be about another's picture."""
    broken = [tmp_path / name for name in write_broken(tmp_path)]
    files = [broken[0], paths[0], paths[1], broken[1], *broken[2:], paths[2]]

    records = list(explain_files(model, files, batch_size=2))

    assert [record["path"] for record in records] == [str(file) for file in files]
    assert [record["error"] is not None for record in records] == [file in broken for file in files]
    for record, file in zip(records, files, strict=True):
        if record["error"]:
            assert str(file) in record["error"]
        else:
            (alone,) = explain_files(model, [file])
            assert record["targets"][0]["score"] == pytest.approx(alone["targets"][0]["score"], abs=1e-4)


def test_a_record_does_not_wait_for_later_pictures(model, paths, monkeypatch):
    """What is done is in the caller's hands before the next batch is read, so nothing that follows can lose it."""
    reads = []
    read = pipeline.read
    monkeypatch.setattr(pipeline, "read", lambda path: reads.append(path) or read(path))

    records = explain_files(model, paths, batch_size=2)
    next(records)

    assert reads == paths[:2]


def test_pictures_of_one_name_get_an_overlay_each(model, tmp_path):
    """``dogs/1.png`` and ``cats/1.png`` in one folder of overlays."""
    files = [tmp_path / folder / "1.png" for folder in ("cats", "dogs")]
    for number, file in enumerate(files):
        file.parent.mkdir()
        noise(number).save(file)
    overlays = Overlays(tmp_path / "maps")
    overlays.prepare()

    records = list(explain_files(model, files, overlays))

    named = {record["targets"][0]["overlay"] for record in records}
    assert named == {str(file) for file in overlays.folder.iterdir()}
    assert len(named) == 2


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"target": [0, 1]}, TargetError, "2 targets for 5 images"),
        ({"layer": "unused"}, LayerError, "'unused'"),
    ],
)
def test_what_is_no_pictures_fault_stops_the_run(model, paths, how, error, words):
    """A wrong number of targets, a layer that never runs: said once, not for each file."""
    network = Plain()
    network.add_module("unused", network.fc)
    network.fc = type(network.fc)(8, 5)
    if "layer" in how:
        model = Model(network, model.preprocessing, None, "plain", "random", 5)
    with pytest.raises(error, match=words):
        list(explain_files(model, paths, **how))


def test_the_layers_worth_most_are_settled_by_the_first_batch(model, paths, monkeypatch):
    asked, compare = [], pipeline.compare
    monkeypatch.setattr(pipeline, "compare", lambda *given, **how: asked.append(how["layer"]) or compare(*given, **how))

    first, second = explain_files(model, paths[:2], batch_size=1, layer="auto")

    assert asked == ["auto", first["targets"][0]["layer"].split("+")]
    assert second["targets"][0]["layer"] == first["targets"][0]["layer"]
