"""A folder of results becomes a page: every picture and map on it, what could not be used included."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from limelight.cli import main
from limelight.errors import InputError
from limelight.gallery import gallery
from limelight.streaming.job import job
from limelight.targets import each
from tests.pictures import noise, write_classes
from tests.streaming.conftest import encoded, packed
from tests.tiny import LABELS, tiny

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'limelight[table]'")
pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'limelight[report]'")


@pytest.fixture(scope="module")
def model():
    return tiny()


def results(model, source, out, **how):
    for _ in job(model, [source], out, **{"shard": 3, "batch_size": 2} | how).run():
        pass
    return out


def parts(page: str, kind: str) -> list:
    return [
        json.loads(text)
        for text in re.findall(rf'<script type="application/json" data-part="{kind}">(.*?)</script>', page)
    ]


def test_every_picture_and_map_is_on_the_page(model, tmp_path):
    """Of a tar, whose pictures are no files; two targets are two cells of one picture."""
    members = {f"tabby/{number}.png": encoded(number) for number in range(7)} | {"tabby/bad.png": b"none"}
    out = results(model, packed(tmp_path / "a.tar", members), tmp_path / "out", target=each(None, "silence"))
    page = gallery(out)
    (facts,), (cells,) = parts(page, "facts"), parts(page, "cells")
    assert len(cells) == len(facts["group"]) == 7 * 2 + 1
    photo, seen, columns, strengths, caption, alt = cells[0]
    small = Image.open(io.BytesIO(base64.b64decode(photo)))
    assert small.size == (96, 72)
    assert np.abs(np.asarray(small, float) - np.asarray(noise(0), float)).mean() < 8
    assert max(base64.b64decode(strengths)) == 255 and len(base64.b64decode(strengths)) % columns == 0
    assert 0 <= seen[0] < seen[2] <= 1
    assert any(label in caption for label in LABELS)
    assert "a.tar/tabby/0.png" in alt
    assert "map of silence" in cells[1][4]
    assert max(base64.b64decode(cells[1][3])) == 0, "a map of zeros stays one"
    assert (cells[-1][0], cells[-1][4]) == ("", "bad.png")
    assert "not a picture" in cells[-1][5]
    right = [value for value in facts["right"] if value >= 0]
    assert set(right) <= {0, 1} and len(right) == 14


def test_of_more_than_asked_for_every_nth_is_taken(model, photos, tmp_path):
    out = results(model, photos, tmp_path / "out")
    told = []
    page = gallery(out, most=3, tell=told.append)
    assert len(parts(page, "facts")[0]["group"]) == 3
    assert sum(told) == 3
    assert "7 pictures, one in 3 shown" in page


def test_a_picture_that_has_gone_is_told(model, photos, tmp_path):
    out = results(model, photos, tmp_path / "out")
    (photos / "tabby" / "0.png").unlink()
    cells = [cell for chunk in parts(gallery(out), "cells") for cell in chunk]
    (gone,) = [cell for cell in cells if not cell[0]]
    assert "not where it was" in gone[5]


def test_what_is_no_folder_of_results_is_refused(tmp_path, model, photos):
    with pytest.raises(InputError, match="holds no results"):
        gallery(tmp_path)
    ready = job(model, [photos], tmp_path / "out")
    with pytest.raises(InputError, match="no results yet"):
        gallery(tmp_path / "out")
    list(ready.run())
    done = CliRunner().invoke(main, ["gallery", str(tmp_path / "out")])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(str(tmp_path / "out" / "gallery.html"))
    refused = CliRunner().invoke(main, ["gallery", str(photos)])
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)


@pytest.fixture
def photos(tmp_path):
    return write_classes(tmp_path / "photos")
