"""``limelight paper``: a table, a page and numbers; one line for what is wrong."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from limelight import models
from limelight.cli import main
from tests.paper.world import annotate, draw
from tests.pictures import noise
from tests.studies.small import small_run
from tests.tiny import LABELS, tiny


@pytest.fixture
def given(tmp_path, monkeypatch):
    """A checkpoint and a folder of pictures with their boxes."""
    monkeypatch.chdir(tmp_path)
    models.save(tiny(), tmp_path / "net")
    for number in range(3):
        (tmp_path / "photos").mkdir(exist_ok=True)
        noise(number).save(tmp_path / "photos" / f"{number}.png")
        annotate(tmp_path / "photos" / f"{number}.xml", {LABELS[number % 2]: (8, 8, 60, 60)})
    return tmp_path


def invoked(*arguments):
    return CliRunner().invoke(main, ["paper", *arguments])


@pytest.mark.parametrize("table", ["localisation", "pointing", "faithfulness", "counterfactual", "adversarial"])
def test_a_table_is_printed_and_a_page_and_numbers_are_left(given, table):
    result = invoked(table, "--data", "photos", "--model", "net", "--methods", "gradcam")
    assert result.exit_code == 0, result.stderr
    page = (given / "limelight-out" / f"paper-{table}" / f"{table}.html").read_text()
    assert "What is not as in the paper?" in page and page.count("<img") >= 6, "three pictures, each with its map"
    assert 'src="http' not in page
    again = invoked(table, "--data", "photos", "--model", "net", "--methods", "gradcam", "--json")
    numbers = json.loads(again.stdout)
    assert numbers == json.loads((given / "limelight-out" / f"paper-{table}" / f"{table}.json").read_text())
    assert numbers["answer"] in result.stdout and len(numbers["differences"]) > 1


def test_a_picture_that_cannot_be_read_is_told_and_the_others_go_on(given):
    (given / "photos" / "1.png").write_bytes(b"no picture")
    result = invoked("localisation", "--data", "photos", "--model", "net", "--methods", "gradcam")
    assert result.exit_code == 1
    assert "not measured: photos/1.png" in result.stderr and "Of 2 pictures" in result.stdout


@pytest.mark.slow
def test_a_run_is_searched_for_what_it_should_not_go_by(tmp_path):
    result = invoked("bias", "--data", str(small_run(tmp_path)), "--out", str(tmp_path / "out"), "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    numbers = json.loads((tmp_path / "out" / "bias.json").read_text())
    assert numbers["answer"] in result.stdout
    assert [one["published"] for one in numbers["figures"]] in ([0.82], [0.82, 0.90])
    assert (tmp_path / "out" / "study.html").is_file(), "all about it, as the page says"


def test_what_is_wrong_is_told_in_one_line(given):
    draw(given / "empty" / "a.png", {})
    annotate(given / "outside" / "0.xml", {LABELS[0]: (8, 8, 600, 600)})
    for arguments, said in [
        (("pointing", "--data", "nowhere"), "there are no pictures at nowhere"),
        (("pointing", "--data", "empty"), "nothing is known of what is on the pictures of empty: no boxes"),
        (("discrimination", "--data", "photos"), "name one with --judge"),
        (("pointing", "--data", "photos", "--methods", "gradcamm"), "no method is called 'gradcamm'"),
        (("pointing", "--data", "photos", "--boxes", "outside"), "lies outside its picture of 96 x 72 pixels"),
        (("pointing", "--data", "photos", "--layer", "nowhere"), "nowhere"),
        (("bias", "--data", "photos", "--judge", "net"), "and no --judge"),
        (("localisations", "--data", "photos"), "localisations"),
    ]:
        result = invoked(*arguments, "--model", "net", "--out", f"out-{arguments[0]}-{len(arguments)}-{arguments[-1]}")
        assert result.exit_code == 2 and said in result.stderr and "Traceback" not in result.stderr, result.stderr
