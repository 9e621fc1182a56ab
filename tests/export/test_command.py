"""``limelight export`` at a shell: what it writes, and what it refuses in one line."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from limelight import models
from limelight.cli import main
from limelight.export import compiled, page
from tests.tiny import tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return str(models.save(tiny(), tmp_path_factory.mktemp("checkpoint") / "tiny"))


def limelight(*args: object):
    return CliRunner().invoke(main, ["export", *(str(arg) for arg in args)])


def refused(*args: object) -> str:
    result = limelight(*args)
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    (said,) = result.stderr.splitlines()
    return said


def test_a_file_and_its_script(asking, checkpoint, tmp_path, monkeypatch):
    """The graph is the tests' own, made once: what is asked for it is looked at."""
    asked = {}

    def made(model, method, layer, target, **how):
        asked.update(model=model.name, method=method, layer=layer, target=target, **how)
        return asking

    monkeypatch.setattr(compiled, "compile", made)
    out = tmp_path / "out.onnx"

    result = limelight(
        checkpoint, out, "--runner", "--method", "layercam", "--target", 1, "--layer", "layer3", "--json"
    )

    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["files"] == [str(out), str(out.with_suffix(".py"))]
    assert found["input"] == "pixels" and "maps within" in found["agreement"]["said"]
    assert out.stat().st_size > 1000 and "onnxruntime" in out.with_suffix(".py").read_text()
    assert asked.pop("model") == "timm/test_resnet.r160_in1k"
    assert asked == {
        "method": "layercam",
        "layer": ["layer3"],
        "target": 1,
        "batch": 1,
        "any_size": False,
    }


def test_a_network_saved_whole_is_exported_as_it_is_explained(tmp_path):
    torch.manual_seed(0)
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
               file := tmp_path / "net.pt")  # fmt: skip
    out = tmp_path / "out.onnx"
    assert "--trust" in refused(file, out)
    assert "--input-size" in refused(file, out, "--trust")

    result = limelight(file, out, "--trust", "--input-size", "16x24", "--norm", "unit", "--runner", "--json")

    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    shown = found["preprocessing"]
    assert (shown["size"], shown["mean"], shown["std"]) == ([16, 24], [0, 0, 0], [1, 1, 1])


def test_a_page(asking, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "compile", lambda *args, **how: asking)
    runtime = tmp_path / "ort"
    runtime.mkdir()
    for name in page.RUNTIME:
        (runtime / name).write_bytes(b"runtime")

    result = limelight(checkpoint, "--web", tmp_path / "page", "--ort-web", runtime)

    assert (result.exit_code, result.stderr) == (0, "")
    assert str(tmp_path / "page" / "index.html") in result.stdout
    assert "checked against the network itself: maps within" in result.stdout


def test_what_is_asked_wrongly_is_told_before_the_network_is_loaded(tmp_path):
    assert "a file OUT.onnx, or --web DIR" in refused("resnet18")
    assert "let it end in .onnx, for" in refused("resnet18", tmp_path / "out.pt")
    assert "give OUT.onnx too" in refused("resnet18", "--web", tmp_path, "--runner")
    assert "give one of them" in refused("resnet18", tmp_path / "o.onnx", "--target", "x", "--top", 2)
    assert "one photograph at once" in refused("resnet18", tmp_path / "o.onnx", "--input", "pixels", "--batch", 4)
    assert "holds no ort.wasm" in refused("resnet18", "--web", tmp_path / "page", "--ort-web", tmp_path)
    assert not (tmp_path / "page").exists()


def test_a_folder_that_can_not_be_written_is_told(asking, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "compile", lambda *args, **how: asking)
    (tmp_path / "file").touch()
    assert "a part of the path is a file" in refused(checkpoint, tmp_path / "file" / "out.onnx")


def test_a_full_disk_leaves_what_was_there(asking, checkpoint, tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    monkeypatch.setattr(compiled, "compile", lambda *args, **how: asking)
    out = tmp_path / "out.onnx"
    out.write_bytes(b"before")

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "the disk is full" in refused(checkpoint, out)
    assert out.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["out.onnx"]


def test_a_method_of_many_passes_is_refused_by_name(checkpoint, tmp_path):
    assert "a method of activations and gradients can be compiled" in refused(
        checkpoint, tmp_path / "out.onnx", "--method", "rise"
    )
