"""Many pictures into a table: each exactly once, the same as `explain` says, whatever happens on the way."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import limelight as ll
from limelight.errors import InputError, ModelError, TargetError
from limelight.parts import Parts, begun_with
from limelight.streaming.decoding import slots
from limelight.streaming.job import job, summary
from limelight.streaming.table import ZERO, maps_of, spread
from tests.pictures import write_broken
from tests.streaming.conftest import encoded, packed
from tests.tiny import LABELS

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'limelight[table]'")


def rows(folder: Path) -> list[dict]:
    return [row for table in Parts.found(folder).tables() for row in table.to_pylist()]


def run(model, sources, out, workers=0, **how):
    ready = job(model, sources, out, **{"shard": 3, "batch_size": 2} | how)
    return list(ready.run(workers))


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_a_table_says_what_explain_says(model, photos, tmp_path):
    """Path, classes, peak, and the map itself: half precision, but none of its size is lost."""
    run(model, [photos], tmp_path / "out", target=ll.each(None, "silence"))
    found = rows(tmp_path / "out")
    tables = Parts.found(tmp_path / "out").tables()
    maps = [each for table in tables for each in maps_of(table)]
    assert [(row["picture"], row["number"]) for row in found] == [(i, j) for i in range(7) for j in range(2)]
    for row, raw in zip(found, maps, strict=True):
        alone = ll.explain(model, row["path"], row["target"])
        record = alone.records()[0]
        assert row["size"] == record["size"]
        assert row["prediction_label"] == record["predictions"][0]["label"]
        assert row["score"] == pytest.approx(record["targets"][0]["score"], abs=1e-4)
        assert row["seen"] == pytest.approx(alone.views[0].box)
        assert row["right"] == (row["label"] == row["prediction_label"])
        if row["target_label"] == "silence":
            assert (row["flags"], row["peak"], row["spread"]) == ([ZERO], None, None)
        else:
            assert row["peak"] == pytest.approx(record["targets"][0]["peak"], abs=0.01)
        assert raw.shape == alone.raw[0, 0].shape
        torch.testing.assert_close(raw, alone.raw[0, 0], atol=float(alone.raw.abs().max()) / 1000, rtol=1e-3)


def test_maps_far_outside_half_precision_keep_their_size(model, photos, tmp_path):
    """A map of probabilities' gradients may be 1e-9; float16 alone would make it zero."""

    def tiny_maps(images):
        answer = torch.full((len(images), 4, 4), 1e-12) * torch.arange(16).view(4, 4)
        return torch.randn(len(images), len(LABELS)), torch.zeros(len(images), dtype=torch.int64), answer

    run(model, [photos], tmp_path / "out", engine=tiny_maps)
    (first, *_) = maps_of(next(Parts.found(tmp_path / "out").tables()))
    np.testing.assert_allclose(first, 1e-12 * np.arange(16).reshape(4, 4), rtol=1e-3)
    assert rows(tmp_path / "out")[0]["target_label"] == LABELS[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_picture_is_a_row_with_its_error(model, photos, tmp_path, workers):
    """Also where another process reads them; the good ones are what they are without it."""
    run(model, [photos], tmp_path / "good")
    (tmp_path / "bad").mkdir()
    broken = write_broken(tmp_path / "bad")
    ticks = run(model, [tmp_path / "bad", photos], tmp_path / "out", workers)
    found = rows(tmp_path / "out")
    assert [row["picture"] for row in found] == list(range(len(broken) + 7))
    for row in found[: len(broken)]:
        assert broken[Path(row["path"]).name] in row["error"]
        assert (row["map"], row["prediction"]) == (None, None)
    assert [row["path"] for row in found[len(broken) :]] == [row["path"] for row in rows(tmp_path / "good")]
    assert sum(len(tick.troubles) for tick in ticks) == len(broken)
    told = summary(Parts.found(tmp_path / "out"))
    assert (told["pictures"], told["errors"], told["maps"]) == (len(broken) + 7, len(broken), 7)


def test_a_picture_that_the_network_fails_on_is_a_row_with_its_error(model, photos, tmp_path):
    """Those that ran beside it keep their maps."""

    def maps(images):
        if len(images) > 1 or images.mean() > dull:
            raise RuntimeError("shape mismatch\nin layer 3")
        return torch.randn(1, len(LABELS)), torch.zeros(1, dtype=torch.int64), torch.rand(1, 4, 4)

    ready = job(model, [photos], tmp_path / "out", engine=maps, shard=3, batch_size=3)
    batches = ready.decoder.batches(slots(ready.listing, ready.left, 3), workers=0)
    dull = sorted(float(image.mean()) for batch in batches for _, images in batch.groups for image in images)[-2]
    ticks = list(ready.run())
    (bad,) = (row for row in rows(tmp_path / "out") if row["error"])
    assert bad["error"] == f"{bad['path']}: the network failed on it: shape mismatch in layer 3"
    assert bad["map"] is None
    assert [path for tick in ticks for path, _ in tick.troubles] == [bad["path"]]
    assert summary(Parts.found(tmp_path / "out"))["maps"] == 6


def test_a_table_is_made_by_one_engine(model, photos, tmp_path):
    """Which one is remembered, for whoever let it be chosen: another trial may choose another."""
    engine = ll.engine("eager", model)
    assert begun_with(tmp_path / "out") is None
    run(model, [photos], tmp_path / "out", engine=engine)
    assert begun_with(tmp_path / "out") == "eager"
    with pytest.raises(InputError, match="not the same: engine"):
        job(model, [photos], tmp_path / "out", engine=replace(engine, name="onnx"), shard=3, batch_size=2)


def test_a_network_that_fails_on_all_of_the_first_batch_stops_the_job(model, photos, tmp_path):
    """A million rows with the same error serve nobody."""

    def never(images):
        raise RuntimeError("no kernel image is available")

    with pytest.raises(ModelError, match="the network failed on it: no kernel image"):
        run(model, [photos], tmp_path / "out", engine=never)
    assert not Parts.found(tmp_path / "out").done()


def test_what_was_done_is_not_done_again(model, photos, tmp_path):
    ready = job(model, [photos], tmp_path / "out", shard=3, batch_size=2)
    steps = ready.run()
    while next(steps).part is None:
        pass
    steps.close()
    before = (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns

    again = job(model, [photos], tmp_path / "out", shard=3, batch_size=2)
    assert (again.left, again.done) == ([1, 2], 3)
    assert sum(tick.pictures for tick in again.run()) == 4
    assert (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns == before
    run(model, [photos], tmp_path / "whole")
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")


def test_another_job_does_not_go_into_the_same_folder(model, photos, tmp_path):
    """Other pictures, another question: what is there stays as it is."""
    run(model, [photos], tmp_path / "out")
    before = sorted((tmp_path / "out").iterdir()), (tmp_path / "out" / "pictures.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds another job"):
        job(model, [photos], tmp_path / "out", shard=3, batch_size=2, target=1)
    (photos / "tabby" / "0.png").unlink()
    with pytest.raises(InputError, match="not the same: pictures"):
        job(model, [photos], tmp_path / "out", shard=3, batch_size=2)
    assert before == (sorted((tmp_path / "out").iterdir()), (tmp_path / "out" / "pictures.jsonl").read_bytes())


def test_overlays_lie_beside_the_table_which_names_them(model, tmp_path):
    """Of a tar too, whose pictures are no files; two methods have a file each."""
    source = packed(tmp_path / "a.tar", {f"{name}/1.png": encoded(number) for number, name in enumerate("abcd")})
    run(model, [source], tmp_path / "out", format="png", methods=["gradcam", "layercam"])
    found = rows(tmp_path / "out")
    named = [row["overlay"] for row in found]
    assert sorted(named) == sorted(
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")
    )
    assert len(set(named)) == 8
    assert {row["map"] is None for row in found} == {True}
    assert {Path(name).parts[1] for name in named} == {"00000", "00001"}


def test_several_layers_are_one_map(model, photos, tmp_path):
    run(model, [photos], tmp_path / "out", layer=["layer2", "layer4"])
    row = rows(tmp_path / "out")[0]
    assert row["layer"] == "layer2+layer4"
    fused = ll.explain(model, row["path"], layer=["layer2", "layer4"])
    assert tuple(row["grid"]) == tuple(fused.raws[0].shape[2:])
    assert max(row["map"]) == 1


def test_each_map_may_have_its_verdict(model, photos, tmp_path):
    run(model, [photos], tmp_path / "out", check_maps=True)
    row = rows(tmp_path / "out")[0]
    alone = ll.explain(model, row["path"]).verdict()
    assert row["verdict"] == alone.label
    assert row["support"] == pytest.approx(alone.support, abs=1e-3)


def test_a_full_disk_is_one_line_and_what_was_done_stays(model, photos, tmp_path, monkeypatch):
    ready = job(model, [photos], tmp_path / "out", shard=3, batch_size=2)
    steps = ready.run()
    while next(steps).part is None:
        pass

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        list(steps)
    monkeypatch.undo()
    assert ready.left == [1, 2]
    assert not list((tmp_path / "out").glob(".*"))
    list(ready.run())
    assert len(rows(tmp_path / "out")) == 7


def test_what_is_no_pictures_fault_is_found_before_any_is_read(model, photos, tmp_path):
    with pytest.raises(TargetError):
        job(model, [photos], tmp_path / "out", target="no such class")
    with pytest.raises(InputError, match="holds no pictures"):
        (tmp_path / "empty").mkdir()
        job(model, [tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be written"):
        job(model, [photos], tmp_path / "file" / "out")


def test_spread_is_the_least_share_of_cells_with_half_of_the_evidence():
    point, even, mixed = torch.zeros(4, 4), torch.ones(4, 4), torch.full((4, 4), -5.0)
    point[1, 2] = 3
    mixed[0] = 1
    assert spread(torch.stack([point, even, mixed])[None]).tolist() == [[1 / 16, 8 / 16, 2 / 16]]
