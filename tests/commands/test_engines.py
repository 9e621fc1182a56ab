"""``--engine``: the same records, whatever runs the network; what can't is passed over by auto, and said."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from limelight import models
from limelight.cli import main
from limelight.engines import choosing
from tests.pictures import noise
from tests.tiny import tiny

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'limelight[export]'")


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("engines")
    checkpoint = models.save(tiny(), folder / "tiny")
    (folder / "photos").mkdir()
    for number in range(3):
        noise(number).save(folder / "photos" / f"{number}.png")
    (folder / "photos" / "no.png").write_bytes(b"no picture")
    return [str(folder / "photos"), "--model", str(checkpoint), "--layer", "layer3"]


def explained(*args: str):
    result = CliRunner().invoke(main, ["explain", *args, "--json"])
    assert result.exit_code == 1, result.output  # one file is no picture
    return json.loads(result.stdout)["images"], result.stderr


@pytest.mark.slow
def test_an_engine_gives_the_same_records(asked, monkeypatch):
    monkeypatch.setattr(choosing, "timed", lambda engines, batch: dict.fromkeys(engines, 2.0) | {"onnx": 1.0})
    own, _ = explained(*asked)
    found, said = explained(*asked, "--engine", "auto")

    assert "engine: onnx (eager takes 2 times as long; openvino" in said
    assert [each["path"] for each in found] == [each["path"] for each in own]
    for one, other in zip(own, found, strict=True):
        assert one["error"] == other["error"]
        for a, b in zip(one["targets"], other["targets"], strict=True):
            assert a["label"] == b["label"] and a["probability"] == pytest.approx(b["probability"], abs=1e-4)
            assert a["peak"] == pytest.approx(b["peak"])


def test_what_an_engine_does_not_answer_is_refused(asked):
    for question, said in (
        (["--target", "0", "--target", "1"], "give one --target"),
        (["--method", "gradcam,layercam"], "answers by one method"),
    ):
        result = CliRunner().invoke(main, ["explain", *asked, "--engine", "onnx", *question])
        assert result.exit_code == 2 and said in result.stderr


def test_evaluate_measures_by_an_engine_and_goes_on_with_the_same_only(asked, tmp_path):
    """By the network in bfloat16, an engine like any, which is made in no time."""
    photos, _, checkpoint, *_ = asked
    question = ["evaluate", "--data", photos, "--model", checkpoint, "--methods", "gradcam,layercam"]
    question += ["--metrics", "deletion,average_drop", "--json", "--out"]
    own, other = (
        CliRunner().invoke(main, [*question, str(tmp_path / name), *engine])
        for name, engine in (("own", []), ("other", ["--precision", "bfloat16"]))
    )
    assert "engine: eager in bfloat16" in other.stderr
    values = [
        [one["mean"] for standings in json.loads(each.stdout)["metrics"].values() for one in standings]
        for each in (own, other)
    ]
    assert values[1] == pytest.approx(values[0], abs=0.05) and values[0] != values[1]
    again = CliRunner().invoke(main, [*question, str(tmp_path / "other")])
    assert again.exit_code == 2 and "not the same: precision" in again.stderr
