"""``limelight train`` as a stranger meets it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from limelight.cli import main
from tests.training.sets import two_classes

HOW = ("--model", "small_cnn", "--size", "16", "--epochs", "2", "--batch-size", "8")


def limelight(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return two_classes(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, limelight("train", folder, "--out", out, *HOW)


def test_it_says_what_it_found_and_then_how_good_it_is(trained):
    out, result = trained
    assert result.exit_code == 0, result.stderr
    assert "40 pictures: dark 20, light 20; train 28, val 6, test 6" in result.stderr
    assert "% to " in result.stdout and "on 6 test pictures" in result.stdout
    assert f"{out}/" in result.stdout


@pytest.mark.parametrize("command", [("explain",), ("layers",)])
def test_other_commands_take_the_run(trained, folder, command):
    out, _ = trained
    if command == ("layers",):
        result = limelight("layers", out, "--json")
        assert result.exit_code == 0 and json.loads(result.stdout)["layers"]
        return
    result = limelight("explain", folder / "dark" / "00.png", "--model", out, "--target", "light", "--json")
    assert result.exit_code == 0, result.stderr
    (image,) = json.loads(result.stdout)["images"]
    assert {each["label"] for each in image["predictions"]} == {"dark", "light"}


def test_the_networks_own_size_can_be_asked_for_by_word(folder, tmp_path):
    how = ("--model", "small_cnn", "--epochs", "1", "--batch-size", "8")
    result = limelight("train", folder, "--out", tmp_path / "run", *how, "--size", "own", "--json")
    assert result.exit_code == 0, result.stderr
    assert limelight("train", folder, "--out", tmp_path / "other", *how, "--size", "large").exit_code == 2


def test_json_is_the_report_and_nothing_else(folder, tmp_path):
    result = limelight("train", folder, "--out", tmp_path / "run", *HOW, "--json")
    document = json.loads(result.stdout)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert document == {"run": str(tmp_path / "run"), **report}


def test_a_picture_that_is_none_is_left_out_told_and_the_exit_code_says_so(tmp_path):
    folder = two_classes(tmp_path / "pictures")
    (folder / "dark" / "05.png").write_bytes(b"torn")
    result = limelight("train", folder, "--out", tmp_path / "run", *HOW)
    assert result.exit_code == 1
    assert "left out: " in result.stderr and "05.png" in result.stderr
    assert "39 pictures" in result.stderr
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--splits", "a,b"), "--splits takes three shares"),
        (("--splits", "0.9,0.2,0.1"), "three shares above 0 that sum to 1"),
        (("--split-column", "fold"), "labels.csv"),
        (("--size", "2"), "size must be at least 8"),
        (("--frozen",), "nothing to freeze"),
        (("--device", "nowhere"), "no device is called"),
        (("--model", "smal_cnn"), "Did you mean"),
    ],
)
def test_what_can_not_be_done_is_one_line_and_leaves_no_run(folder, tmp_path, more, said):
    result = limelight("train", folder, "--out", tmp_path / "run", *HOW, *more)
    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and said in errors[0]
    assert not (tmp_path / "run" / "card.json").exists()


def test_one_class_is_refused_before_anything_is_written(tmp_path):
    folder = two_classes(tmp_path / "pictures")
    for file in (folder / "light").iterdir():
        file.unlink()
    result = limelight("train", folder, "--out", tmp_path / "run", *HOW)
    assert result.exit_code == 2
    assert "class 'light' has no pictures" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_log_for_tensorboard(folder, tmp_path):
    pytest.importorskip("tensorboard", reason="needs limelight[tensorboard]")
    result = limelight("train", folder, "--out", tmp_path / "run", *HOW, "--tensorboard")
    assert result.exit_code == 0, result.stderr
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
