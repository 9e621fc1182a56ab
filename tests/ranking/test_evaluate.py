"""An evaluation gives one row for each picture, method and metric, whatever happens to it on the way."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from limelight import models
from limelight.cli import main
from limelight.errors import InputError, MetricError
from limelight.models.fingerprint import fingerprint
from limelight.ranking import evaluate
from limelight.ranking.page import page
from limelight.ranking.summary import summarise
from limelight.report.plots import worthwhile
from limelight.statistics import cases_needed
from tests.pictures import SIZE, noise
from tests.tiny import LABELS, tiny

METHODS = ("gradcam", "layercam", "eigencam")
METRICS = ("average_drop", "sparseness", "energy_pointing")


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(7):
        noise(number).save(folder / f"{number}.png")
    width, height = SIZE
    rows = [f"{number}.png,{number % 3} 2 {width - 3} {height - 1 - number % 2}" for number in range(7)]
    (tmp_path / "boxes.csv").write_text("\n".join(["file,boxes", *rows]) + "\n")
    return folder


def ready(model, photos, name="out", **more):
    settings = {"methods": METHODS, "metrics": METRICS, "regions": photos.parent / "boxes.csv", "shard": 2} | more
    return evaluate(model, photos, photos.parent / name, **settings)


def told(rows):
    """What must not depend on how often a run was interrupted: everything but the time."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_there_is_one_row_for_each_picture_method_and_metric(model, photos):
    found = ready(model, photos)
    assert list(found.run()) == [0, 1, 2, 3]
    rows = [row for row in found.rows() if row["metric"] != "agreement"]
    counts = Counter((row["picture"], row["method"], row["metric"]) for row in rows)
    assert set(counts.values()) == {1}
    assert len(counts) == 7 * len(METRICS) * (len(METHODS) + 3), "the three kinds of chance included"
    assert all(row["error"] is None for row in rows)


def test_an_interrupted_run_goes_on_and_ends_the_same(model, photos):
    whole = ready(model, photos, "whole")
    for _ in whole.run():
        pass
    for kept in range(4):  # killed after none, one, two, three parts
        broken = ready(model, photos, "broken")
        for done, _ in enumerate(broken.run()):
            if done == kept:
                break
        (broken.store.folder / ".99-1.part.part-00003.parquet").write_bytes(b"half a part")
    last = ready(model, photos, "broken")
    assert len(last.store.done()) == 4
    assert not list(last.store.folder.glob(".*.part.*"))
    assert told(last.rows()) == told(whole.rows())


def test_a_folder_of_another_evaluation_is_not_gone_on_with(model, photos):
    ready(model, photos)
    with pytest.raises(InputError, match=r"another evaluation \(not the same: methods\)"):
        ready(model, photos, methods=("gradcam",))
    with pytest.raises(InputError, match=r"\(not the same: annotations, metrics\)"):
        ready(model, photos, metrics=("sparseness",), regions=None)
    other = tiny()
    with torch.no_grad():
        next(other.network.parameters()).add_(1)
    assert fingerprint(other) != fingerprint(model) == fingerprint(tiny())
    with pytest.raises(InputError, match=r"\(not the same: model\)"):
        ready(other, photos)


def test_a_picture_that_cannot_be_read_is_told_and_the_others_go_on(model, photos):
    (photos / "3.png").write_bytes(b"no picture")
    found = ready(model, photos)
    for _ in found.run():
        pass
    summary = summarise(found.rows(), found.bench.metrics)
    assert summary.pictures == 6
    ((what, why),) = summary.errors
    assert what == "3.png" and "3.png" in why


def test_the_summary_ranks_and_recommends_on_held_out_pictures(model, photos):
    found = ready(model, photos)
    for _ in found.run():
        pass
    summary = summarise(found.rows(), found.bench.metrics)
    assert set(summary.ranks) == set(METHODS) and list(summary.ranks.values()) == sorted(summary.ranks.values())
    assert summary.chance == ["random", "centre", "edges"]
    for standings in summary.standings.values():
        assert [one.chance for one in standings] == [False] * 3 + [True] * 3
        assert all(one.interval.low <= one.mean <= one.interval.high for one in standings)
    chosen = summary.recommendation
    assert chosen.method in METHODS and chosen.chosen_on + chosen.held_out == 7
    json.dumps(summary.record())


def test_one_picture_has_no_interval(model, photos):
    for number in range(1, 7):
        (photos / f"{number}.png").unlink()
    found = ready(model, photos)
    for _ in found.run():
        pass
    summary = summarise(found.rows(), found.bench.metrics)
    assert all(one.interval is None and one.p is None for each in summary.standings.values() for one in each)
    assert summary.recommendation is None


def test_how_many_pictures_would_tell_two_methods_apart_is_said(model, photos):
    """As the statistic says it of the rows themselves; none for the best and for chance."""
    found = ready(model, photos)
    list(found.run())
    rows, summary = found.rows(), summarise(found.rows(), found.bench.metrics)
    values = {
        name: [row["value"] for row in rows if (row["method"], row["metric"]) == (name, "sparseness")]
        for name in METHODS
    }
    standings = summary.standings["sparseness"]
    best = standings[0].method
    for one in standings:
        known = None if one.chance or one.method == best else cases_needed(values[one.method], values[best])
        assert one.needed == known
    assert any(one.needed for one in standings)
    html = page(found, summary, "photos")
    assert "pictures to tell" in html and "Cost against faithfulness" in html


def test_the_frontier_holds_what_nothing_is_both_cheaper_and_better_than():
    points = [("slow", 9.0, 1.0), ("dear", 9.5, 1.0), ("quick", 1.0, 3.0), ("bad", 2.0, 3.5), ("even", 1.0, 4.0)]
    assert [name for name, _, _ in worthwhile(points)] == ["quick", "slow"]


def test_masks_are_what_the_network_saw_of_them(model, photos):
    """A mask over the left half of a photograph is the left half of the input, also where a crop cuts it."""
    width, height = SIZE
    masks = photos.parent / "masks"
    masks.mkdir()
    half = Image.new("L", SIZE)
    half.paste(255, (0, 0, width // 2, height))
    for number in range(7):
        half.save(masks / f"{number}.png")
    from limelight.images import read
    from limelight.ranking.measuring import mask_of, prepared

    picture = ready(model, photos, regions=masks).pictures[0]
    for fit in ("whole", "pad", "crop"):
        photo = read(picture.path)
        _, (view,) = prepared(model, [photo], fit)
        mask = mask_of(picture, view, photo)
        left, right = mask[:, : mask.shape[1] // 2 - 1], mask[:, mask.shape[1] // 2 + 1 :]
        assert not right.any() and left.any()
        assert fit == "pad" or left.all()


def test_what_is_wrong_is_found_before_anything_is_measured(model, photos):
    with pytest.raises(InputError, match="'pointing' needs to know where the object is"):
        ready(model, photos, metrics=("pointing",), regions=None)
    with pytest.raises(MetricError, match="no metric is called"):
        ready(model, photos, metrics=("pointign",))
    with pytest.raises(InputError, match="have no class that the network knows"):
        ready(model, photos, true=True)
    named = photos.parent / "named.csv"
    named.write_text("file,label,boxes\n0.png,zebra,1 1 9 9\n1.png,lion,1 1 9 9\n")
    with pytest.raises(InputError, match=r"no picture has an annotation of the class it is asked about.* lion, zebra"):
        ready(model, photos, regions=named)
    named.write_text("file,boxes\nelsewhere.png,1 1 9 9\n")
    with pytest.raises(InputError, match="none of the annotations belongs to one of the pictures"):
        ready(model, photos, regions=named)


def test_class_folders_and_csv_tell_the_true_class(model, photos):
    (photos / LABELS[1]).mkdir()
    for number in range(7):
        (photos / f"{number}.png").rename(photos / LABELS[1] / f"{number}.png")
    assert {picture.target for picture in ready(model, photos, true=True).pictures} == {1}
    table = photos / "list.csv"
    table.write_text(f"file,label\n{LABELS[1]}/0.png,tabby\n{LABELS[1]}/1.png,silence\n")
    found = evaluate(model, table, photos.parent / "csv", methods=METHODS, metrics=["sparseness"], true=True)
    assert [picture.target for picture in found.pictures] == [0, 4]


def test_the_command_writes_rows_a_summary_and_a_page(model, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = models.save(replace(model), tmp_path / "tiny")
    asked = ["evaluate", "--model", str(checkpoint), "--data", "photos", "--boxes", "boxes.csv", "--out", "o"]
    asked += ["--methods", "gradcam,layercam", "--metrics", "average_drop,energy_pointing", "--recommend"]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.stderr
    assert "chance: centre" in result.stdout and "take " in result.stdout
    page = (tmp_path / "o" / "evaluation.html").read_text()
    assert "Which method is best?" in page and 'src="http' not in page
    again = CliRunner().invoke(main, [*asked, "--json"])
    assert json.loads(again.stdout) == json.loads((tmp_path / "o" / "summary.json").read_text())
    (tmp_path / "photos" / "5.png").write_bytes(b"no picture")
    part = CliRunner().invoke(main, [*asked[:-5], "--out", "p", "--metrics", "average_drop"])
    assert part.exit_code == 1 and "not measured: 5.png" in part.stderr and "mean rank" in part.stdout
    wrong = CliRunner().invoke(main, [*asked, "--masks", "boxes.csv"])
    assert wrong.exit_code == 2 and wrong.stderr == "error: give --boxes or --masks, not both\n"
