"""report/: a page that refers to nothing outside itself, that anybody can read, and that takes text for text."""

from __future__ import annotations

import base64
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from limelight import report
from limelight.report.page import percent
from tests.report.reading import check_page
from tests.report.sample import HOSTILE, page

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'limelight[report]'")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'limelight[report]'")


@pytest.fixture(scope="module")
def plain() -> str:
    return report.html(page())


def test_a_page_stands_alone_and_can_be_read_without_seeing(plain):
    read = check_page(plain)
    assert read.tags[0][0] == "html"
    assert {"header", "main", "nav", "footer", "section", "dialog"} <= {tag for tag, _ in read.tags}
    assert [link["href"] for link in read.all("a")] == ["#verdict", "#first", "#second"]


def test_nothing_may_be_fetched_even_if_it_were_asked_for(plain):
    (policy,) = (each["content"] for each in check_page(plain).all("meta") if "http-equiv" in each)
    assert policy.startswith("default-src 'none'; img-src data:")


def test_text_is_text_wherever_it_stands():
    """Labels come from folder names, which may hold anything."""
    read = check_page(report.html(page(HOSTILE)))
    assert len(read.all("script")) == 1
    assert not read.all("b") or all(not bold for bold in read.all("b"))
    assert "alert" not in "".join(value for _, attributes in read.tags for value in attributes if value != "alt")
    assert read.text.count("<script>alert") > 40


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_any_label_gives_a_sound_page(words):
    check_page(report.html(page(words)))


def test_the_same_page_is_the_same_file(plain):
    assert report.html(page()) == plain


def test_shares_are_said_in_words_and_not_by_the_length_of_a_bar_alone(plain):
    text = check_page(plain).text
    assert "40% 30% to 50% plain words 25%" in text
    assert "To be trusted with care" in text


def test_each_picture_can_be_enlarged(plain):
    read = check_page(plain)
    assert len(read.all("img")) - 1 == len([each for each in read.all("button") if each.get("class") == "enlarge"])


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0%"), (0.0004, "0.1%"), (0.004, "0.4%"), (0.254, "25%"), (0.9951, "99.5%"), (0.99999, "99.9%"), (1, "100%")],
)
def test_what_is_nearly_all_is_not_called_all(share, said):
    assert percent(share) == said


@pytest.mark.parametrize(
    ("size", "shown"), [((900, 450), (320, 160)), ((300, 200), (300, 200)), ((28, 14), (308, 154))]
)
def test_pictures_are_made_fit_for_a_page(size, shown):
    picture = report.inlined(Image.new("L", size), "grey")
    assert picture.size == shown
    kind, _, content = picture.src.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as again:
        assert (again.size, again.mode) == (shown, "RGB")


def test_drawings_take_the_pages_colours():
    svg = report.plots.lines("t", "d", ["a"], [report.plots.Series("one", [1.0])], "x", "y")
    assert "#0" not in svg.replace('href="#', "").replace("url(#", "")
    assert "currentColor" in svg
    assert "var(--blue)" in svg
    assert "DejaVu" not in svg
