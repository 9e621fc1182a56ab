"""Ten thousand pictures on one page, in a real browser: filtered, ordered, turned over, coloured as overlays are."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from limelight import colormaps, render, report
from limelight.heatmap import place
from tests.pictures import noise
from tests.report.browsing import opened
from tests.report.sample import HOSTILE

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'limelight[report]'")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install 'limelight[test]'"
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium: apt install chromium"),
]
COUNT = 10_000
MAP = [[0, 40, 255], [0, 120, 60]]
SEEN = (0.1, -0.2, 0.9, 1.1)


def cell(number: int) -> report.Cell:
    if number % 100 == 99:
        return report.Cell(None, (0, 0, 1, 1), (), HOSTILE, f"broken {number}", "(could not be used)")
    return report.Cell(
        encoded(number % 5), SEEN, MAP, f"picture {number}", f"words for {number}", f"class {number % 7}",
        (number * 37 % 1000) / 1000, (number % 500) / 1000, [True, False, None][number % 3], ["", "weak"][number % 2],
    )  # fmt: skip


def encoded(seed: int) -> bytes:
    buffer = io.BytesIO()
    noise(seed).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    colours = np.asarray(colormaps.colormap(colormaps.DEFAULT), np.uint8).tobytes()
    sheet = report.ContactSheet(
        [cell(number) for number in range(COUNT)], colours, render.ALPHA, render.FULL_WEIGHT, render.VEIL
    )
    page = report.Page("Many", "Test", [], None, [report.Section("sheet", "Which?", "All.", [sheet])])
    file = tmp_path_factory.mktemp("sheet") / "page.html"
    file.write_text(report.html(page), encoding="utf-8")
    return file


def captions(shown) -> list[str]:
    return shown.locator(".sheet figcaption").all_inner_texts()


def numbers(shown) -> list[int]:
    return [int(text.split()[-1]) for text in captions(shown) if "picture" in text]


def test_ten_thousand_are_filtered_ordered_and_turned_over(written):
    with opened(written) as (shown, heard, asked):
        count, form = shown.locator(".sheet output"), shown.locator(".sheet form")
        assert count.inner_text() == "10,000 pictures"
        assert shown.locator(".sheet figure").count() == 96
        assert captions(shown)[1:3] == ["✕ picture 1", "picture 2"] or captions(shown)[1:3] == [
            "picture 1",
            "picture 2",
        ]

        shown.get_by_role("button", name="Next").click()
        assert numbers(shown)[0] == 96
        assert HOSTILE in captions(shown), "text is text"

        form.get_by_label("Class").select_option(label=next(t for t in options(form, "Class") if "class 3" in t))
        wanted = [n for n in range(COUNT) if n % 100 != 99 and n % 7 == 3]
        assert count.inner_text() == f"{len(wanted):,} of 10,000 pictures"
        assert numbers(shown) == wanted[:96]

        form.get_by_label("Prediction").select_option("wrong")
        form.get_by_label("Confidence from").fill("50")
        form.get_by_label("Spread of the map to").fill("20")
        form.get_by_label("Verdict").select_option(label=next(t for t in options(form, "Verdict") if "weak" in t))
        form.get_by_label("Order").select_option("most confident first")
        wanted = [n for n in wanted if n % 3 == 1 and n * 37 % 1000 >= 500 and n % 500 <= 200 and n % 2]
        wanted.sort(key=lambda n: (-(n * 37 % 1000), n))
        assert count.inner_text() == f"{len(wanted):,} of 10,000 pictures"
        assert numbers(shown) == wanted[:96]

        form.get_by_role("button", name="Start over").click()
        playwright.expect(count).to_have_text("10,000 pictures")  # the page's policy lets no string be evaluated
        assert heard == []
        assert asked == [written.as_uri()]


def options(form, label: str) -> list[str]:
    return form.get_by_label(label).locator("option").all_inner_texts()


def test_a_map_is_laid_on_as_an_overlay_is(written):
    """The browser's picture against limelight.render's, from the same small photograph and map."""
    with opened(written) as (shown, _, _):
        image = shown.locator(".sheet img").first
        playwright.expect(image).to_have_attribute("src", re.compile("."))
        playwright.expect(image).to_have_js_property("complete", True)
        found = shown.evaluate(
            """() => { const i = document.querySelector('.sheet img'), c = document.createElement('canvas');
            c.width = i.naturalWidth; c.height = i.naturalHeight; const x = c.getContext('2d'); x.drawImage(i, 0, 0);
            return [...x.getImageData(0, 0, c.width, c.height).data]; }"""
        )
        assert image.get_attribute("alt") == "words for 0"
    photo = Image.open(io.BytesIO(encoded(0))).convert("RGB")
    width, height = photo.size
    box = (SEEN[0] * width, SEEN[1] * height, SEEN[2] * width, SEEN[3] * height)
    heat = place(torch.tensor(MAP, dtype=torch.float32)[None] / 255, (height, width), box)[0].numpy()
    wanted = np.asarray(render.overlay(photo, heat, seen=box), np.float64)
    seen = np.asarray(found, np.float64).reshape(height, width, 4)[..., :3]
    off = np.abs(seen - wanted)
    off = off[:, [x for x in range(width) if abs(x - box[0]) > 6 and abs(x - box[2]) > 6]]  # but the frame's line
    assert off.mean() < 4, off.mean()


def test_a_picture_of_the_sheet_is_enlarged(written):
    with opened(written, 390, 844) as (shown, heard, _):
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
        shown.locator(".sheet button.enlarge").nth(1).click()
        dialog = shown.locator("dialog")
        assert dialog.is_visible()
        assert "picture 1" in dialog.inner_text()
        assert heard == []
