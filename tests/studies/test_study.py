"""study.py and its command: from a run or a folder to a page, and what happens when something is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import limelight as ll
from limelight import files
from limelight.cli import main
from limelight.errors import InputError
from limelight.studies.study import study
from tests.report.browsing import opened
from tests.report.reading import check_page
from tests.studies.small import CLASSES, COUNTS, MISLABELLED

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'limelight[report]'")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'limelight[report]'")

TESTED = 2 * COUNTS["test"]


@pytest.fixture(scope="module")
def done(run, tmp_path_factory):
    return study(run, tmp_path_factory.mktemp("study"), attacked=5)


@pytest.fixture(scope="module")
def facts(done):
    return json.loads((done.page.parent / "study.json").read_text())


@pytest.fixture(scope="module")
def read(done):
    return check_page(done.page.read_text(encoding="utf-8"))


def test_the_page_answers_the_questions_in_order(read, facts):
    titles = [each["id"] for tag, each in read.tags if tag == "h2" and each["id"].endswith("-title")]
    assert titles[:5] == ["verdict-title", "good-title", "looks-title", "fails-title", "fooled-title"]
    assert titles[5:7] == ["biased-title", "helps-title"]
    for answer in facts["answers"].values():
        assert read.text.count(answer) >= 2  # beside the question at the top, and where it is answered


def test_the_numbers_are_those_of_the_run(facts, run):
    report = json.loads((run / "report.json").read_text())
    assert facts["good"]["accuracy"] == report["accuracy"]
    assert facts["classes"] == list(CLASSES)
    assert facts["pictures"] == {"all": 2 * sum(COUNTS.values()), "test": TESTED, "looked_at": TESTED}
    assert facts["fooled"]["pictures"] == 5
    wrong = [name for place in facts["fails"] for name in place["wrong"]]
    assert len(wrong) == TESTED - round(report["accuracy"] * TESTED)
    assert sum(place["pictures"] for place in facts["fails"]) == TESTED


def test_mistakes_are_shown_with_all_their_maps(read, facts):
    captions = [each["alt"] for each in read.all("img") if "alt" in each]
    for name in (name for place in facts["fails"] for name in place["wrong"]):
        own = [alt for alt in captions if alt.startswith(name)]
        assert any("which is wrong" in alt for alt in own)
        assert any("rather than" in alt for alt in own)
        assert any("what spoke against" in alt for alt in own)
    assert any(Path(name).name in MISLABELLED for place in facts["fails"] for name in place["wrong"])


def test_what_repeats_is_found_and_taken_away(facts, read):
    """Each class's square is the same in all its pictures: a mark, to anybody without masks."""
    first = facts["findings"][0]
    assert first["kind"] == "mark"
    assert first["used"]["interval"][0] > 0
    assert facts["verdict"]["level"] == "bad"
    assert facts["remedy"]["before"]["accuracy"] == facts["good"]["accuracy"]
    assert facts["remedy"]["added"] == 2 * (COUNTS["train"] + COUNTS["val"])
    assert (Path(facts["remedy"]["run"]) / "card.json").is_file()
    assert f"the {first['name']} the other way round" in read.text


def test_guided_maps_stand_beside_the_coarse_ones(read):
    assert any("Guided Grad-CAM" in each.get("alt", "") for each in read.all("img"))


@pytest.mark.slow
def test_the_same_study_again_says_the_same(done, run, tmp_path):
    again = study(run, tmp_path, attacked=5, remedy=False)
    told = [name for name in done.facts if name not in ("made", "remedy", "answers")]
    assert {name: again.facts[name] for name in told} == {name: done.facts[name] for name in told}


@pytest.mark.slow
def test_fewer_pictures_are_drawn_and_said(run, tmp_path):
    few = study(run, tmp_path, pictures=8, attacked=2, remedy=False)
    assert few.facts["pictures"]["looked_at"] == 8
    assert sum(place["pictures"] for place in few.facts["fails"]) == 8
    assert "8 test pictures of 24" in check_page(few.page.read_text(encoding="utf-8")).text


def invoked(*arguments: object):
    return CliRunner().invoke(main, ["study", *map(str, arguments), "--device", "cpu", "--no-remedy"])


def test_from_a_shell_the_numbers_go_to_stdout_and_nothing_else(run, tmp_path):
    result = invoked(run, "--out", tmp_path, "--pictures", 6, "--attacked", 1, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["pictures"]["looked_at"] == 6
    assert (tmp_path / "study.html").is_file()


@pytest.mark.slow
def test_a_run_keeps_its_page_unless_told_otherwise(run, tmp_path):
    own = shutil.copytree(run, tmp_path / "run")
    result = invoked(own, "--pictures", 4, "--attacked", 1)
    assert result.exit_code == 0, result.stderr
    assert f"the page is {own / 'study.html'}" in result.stdout
    assert "What should I do?" in result.stdout


@pytest.mark.slow
def test_pictures_that_have_moved(run, tmp_path):
    own = shutil.copytree(run, tmp_path / "run")
    card = json.loads((own / "card.json").read_text())
    card["data"]["root"] = str(tmp_path / "gone")
    (own / "card.json").write_text(json.dumps(card))
    refused = invoked(own)
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "say where with --data FOLDER" in refused.stderr
    found = invoked(own, "--data", run.parent / "pictures", "--pictures", 4, "--attacked", 1, "--json")
    assert found.exit_code == 0, found.stderr
    assert any(each["place"] == "the object" for each in json.loads(found.stdout)["looks"][0]["shares"])


@pytest.mark.slow
def test_pictures_that_are_missing_are_left_out_and_told(run, tmp_path):
    shutil.copytree(run.parent / "pictures", tmp_path / "pictures")
    for name in ("test/red/red_00.png", "masks/test/red/red_01.png"):
        (tmp_path / "pictures" / name).unlink()
    said = []
    left = study(run, tmp_path / "out", data=tmp_path / "pictures", attacked=1, remedy=False, say=said.append)
    assert left.facts["pictures"]["test"] == TESTED - 1
    assert any("1 picture of 68 can't be found" in line for line in said)


@pytest.mark.parametrize(
    ("source", "words"),
    [("nothing", "does not exist"), (".", "no class folders"), ("begun", "--resume")],
)
def test_what_can_not_be_studied_is_told_in_one_line(tmp_path, source, words):
    (tmp_path / "begun" / "state").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    result = invoked(tmp_path / "empty" if source == "." else tmp_path / source, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_full_disk_is_told_and_no_half_a_page_is_left(run, tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Path, "write_bytes", full)
    with pytest.raises(InputError, match="disk is full"):
        study(run, tmp_path / "out", pictures=2, attacked=1, remedy=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_nonsense_is_refused(run):
    with pytest.raises(InputError, match="at least one"):
        study(run, pictures=0)


def test_it_is_offered_by_the_package():
    assert ll.study is study


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium: apt install chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(done, width):
    """No error, no request, nothing wider than the window, and a mistake's picture can be enlarged."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install 'limelight[test]'")
    with opened(done.page, width, 800) as (page, heard, asked):
        assert heard == []
        assert asked == [done.page.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("#fails button.enlarge").first.click()
        assert page.locator("dialog img").bounding_box()["width"] >= min(width * 0.9, 700)
        page.keyboard.press("Escape")
        assert not page.locator("dialog").is_visible()
