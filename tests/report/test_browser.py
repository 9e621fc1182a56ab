"""The page in a real browser: it is quiet, asks nobody for anything, and its pictures can be enlarged by any hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from limelight import report
from tests.report.browsing import opened
from tests.report.sample import HOSTILE, page

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'limelight[report]'")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'limelight[report]'")
pytest.importorskip("playwright", reason="playwright is not installed: pip install 'limelight[test]'")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium: apt install chromium"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(report.html(page(HOSTILE)), encoding="utf-8")
    return file


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_a_page_is_quiet_and_fits_the_window(written, width, height):
    with opened(written, width, height) as (shown, heard, asked):
        assert heard == []
        assert asked == [written.as_uri()]
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.evaluate("[...document.images].slice(0, -1).every((i) => i.complete && i.naturalWidth > 0)")


def test_a_picture_is_enlarged_and_put_back_by_mouse(written):
    with opened(written) as (shown, heard, _):
        dialog = shown.locator("dialog")
        second = shown.locator(".strip button.enlarge").nth(1)
        second.click()
        assert dialog.is_visible()
        assert dialog.locator("img").evaluate("(i) => i.naturalWidth") == 96
        assert dialog.locator("img").bounding_box()["width"] > 600
        assert "2 of 2" in dialog.inner_text()
        dialog.get_by_label("Next picture").click()
        assert "1 of 2" in dialog.inner_text()
        dialog.get_by_label("Close").click()
        assert not dialog.is_visible()
        assert heard == []


def test_the_keyboard_alone_enlarges_steps_and_closes(written):
    with opened(written) as (shown, _, _):
        shown.locator(".strip button.enlarge").first.focus()
        shown.keyboard.press("Enter")
        dialog = shown.locator("dialog")
        assert dialog.is_visible()
        first = dialog.locator("img").get_attribute("src")
        shown.keyboard.press("ArrowRight")
        assert dialog.locator("img").get_attribute("src") != first
        shown.keyboard.press("Escape")
        assert not dialog.is_visible()
        assert shown.evaluate("document.activeElement.className") == "enlarge"


def test_the_first_stop_of_the_keyboard_leads_to_the_verdict(written):
    with opened(written) as (shown, _, _):
        shown.keyboard.press("Tab")
        shown.keyboard.press("Enter")
        assert shown.evaluate("document.activeElement.id") == "verdict"


def test_a_gallery_is_narrowed(written):
    with opened(written) as (shown, _, _):
        gallery = shown.locator(".gallery")
        gallery.get_by_role("button", name="even", exact=True).click()
        assert gallery.locator(".picture:visible").count() == 2
        assert "2 pictures" in gallery.inner_text()
        gallery.locator("button.enlarge:visible").first.click()
        assert "1 of 2" in shown.locator("dialog").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_paper(written, scheme):
    """Contrast of at least 4.5 to 1, as WCAG 2.2 asks (AA)."""
    with opened(written, scheme=scheme) as (shown, _, _):
        for selector in ("body", ".detail", ".basis", ".level", ".note", "svg text", ".kicker"):
            ratio = shown.evaluate(CONTRAST, selector)
            assert ratio >= 4.5, (selector, ratio)


CONTRAST = """(selector) => {
  const channels = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map(Number);
  const light = (colour) => channels(colour).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const element = document.querySelector(selector);
  const style = getComputedStyle(element);
  const ink = light(element instanceof SVGElement ? style.fill : style.color);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}"""


def test_a_folded_part_is_printed(written, tmp_path):
    with opened(written) as (shown, _, _):
        shown.emulate_media(media="print")
        shown.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert shown.locator("details p").first.is_visible()
        assert not shown.locator(".filters").first.is_visible()
        assert len(shown.pdf()) > 10_000
