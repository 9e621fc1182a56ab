"""The script beside an exported file: photographs in, the same maps out, without torch or limelight."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limelight as ll
from limelight.export import script
from tests.pictures import noise, write_broken, write_unusual

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
BARE = "import runpy, sys; sys.modules.update(torch=None, limelight=None, onnx=None); sys.argv = sys.argv[1:]; "
BARE += "runpy.run_path(sys.argv[0], run_name='__main__')"
"""Runs a script where importing torch, limelight or onnx fails."""


@pytest.fixture(scope="module")
def written(of_pixels) -> Path:
    return script.write(of_pixels)


def run(written: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BARE, written, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd, check=False)


def test_it_gives_limelights_maps_for_any_kind_of_picture(written, asking, of_pixels, tmp_path):
    own = runpy.run_path(str(written))
    session = own["load"](of_pixels)
    notes = write_unusual(tmp_path)
    del notes["sixteen.png"]  # limelight brings 16 bits to 8 itself; the script leaves that to Pillow
    for name in notes:
        explained = ll.explain(asking.model, tmp_path / name, layer="layer3")
        found = own["answer"](session, own["read"](tmp_path / name))
        np.testing.assert_allclose(found["map"], np.asarray(explained.heat()), rtol=0, atol=1e-4, err_msg=name)


def test_it_runs_without_torch_and_says_what_it_saw(written, asking, tmp_path):
    noise(1).save(tmp_path / "a.jpg")

    done = run(written, "a.jpg", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (record,) = json.loads(done.stdout)["images"]
    (best, *_), (target,) = record["predictions"], record["targets"]
    assert target["label"] == best["label"] == ll.explain(asking.model, tmp_path / "a.jpg").predictions[0][0].label

    done = run(written, "a.jpg", "--class", 1, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "espresso" in done.stdout
    assert Image.open(tmp_path / "limelight-out" / "a.png").size == noise(1).size


def test_what_can_not_be_read_is_told_and_the_rest_is_done(written, tmp_path):
    noise().save(tmp_path / "good.png")
    names = [name for name in write_broken(tmp_path) if name not in ("dot.png", "bomb.png")]

    done = run(written, *names, "good.png", "missing.png", cwd=tmp_path)

    assert done.returncode == 1
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [*names, "missing.png"]
    assert "Traceback" not in done.stderr
    assert (tmp_path / "limelight-out" / "good.png").exists()
    assert run(written, "missing.png", cwd=tmp_path).returncode == 2
    assert "there is no such file" in run(written, "good.png", "--model", "no.onnx", cwd=tmp_path).stderr


@pytest.mark.slow
def test_it_needs_onnxruntime_numpy_and_pillow_only(written, tmp_path):
    """In an environment of its own, made for it."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", "onnxruntime", "numpy", "pillow"], capture_output=True, check=False
    )
    if installed.returncode:
        pytest.skip(f"no package index to install from: {installed.stderr.decode()[-200:]}")
    noise().save(tmp_path / "a.png")
    done = subprocess.run([python, written, "a.png"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 1
