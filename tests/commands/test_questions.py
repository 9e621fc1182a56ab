"""The shell asks what Python can: a box, a point, all that is found, a layout; what does not fit is refused."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import limelight as ll
from limelight.cli import main
from limelight.images import read
from tests.pictures import noise


class Segmenter(nn.Module):
    """Class scores at half the input's size."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 1))

    def forward(self, x):
        return {"out": self.head(self.body(x))}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A photograph, and networks saved whole."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    folder = tmp_path_factory.mktemp("whole")
    noise(0).resize((96, 64)).save(folder / "a.png")
    torch.save(Segmenter().eval(), folder / "segmenter.pt")
    torch.manual_seed(0)
    small = ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, score_thresh=0.0, detections_per_img=3
    )
    torch.save(small.eval(), folder / "detector.pt")
    return folder


def limelight(*args: object):
    return CliRunner().invoke(main, ["explain", *(str(arg) for arg in args)])


def asked(files, network: str, *args: object):
    size = "64x96" if network == "segmenter" else "320"
    return limelight(
        files / "a.png", "--model", files / f"{network}.pt", "--trust", "--input-size", size, "--json", *args
    )


def refused(result) -> str:
    assert result.exit_code == 2, (result.stdout, result.stderr, result.exception)
    (said,) = [line for line in result.stderr.splitlines() if not line.startswith("warning")]
    assert said.startswith("error: ")
    return said


def test_a_part_of_the_photograph_is_the_same_part_as_in_python(files):
    box = json.loads(asked(files, "segmenter", "--box", "10,20,60,50", "--target", "1").stdout)["images"][0]
    model = ll.load(
        files / "segmenter.pt",
        trust=True,
        preprocessing=ll.Preprocessing((64, 96), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=1.0),
    )
    ours = ll.explain(model, read(files / "a.png"), ll.region(1, box=(5, 10, 30, 25)))
    assert box["targets"][0]["score"] == pytest.approx(float(ours.scores[0, 0]), abs=1e-4)
    point = json.loads(asked(files, "segmenter", "--point", "40,30").stdout)["images"][0]
    assert point["error"] is None
    assert point["targets"][0]["label"].endswith("region")


def test_a_detector_is_asked_for_a_box_and_for_all_it_finds(files):
    found = json.loads(asked(files, "detector", "--detections", "--top", "2").stdout)["images"][0]
    assert len(found["targets"]) == 2
    one = json.loads(asked(files, "detector", "--box", "10,10,50,50", "--target", "2").stdout)["images"][0]
    assert one["targets"][0]["index"] == 2


@pytest.mark.parametrize(
    ("network", "args", "says"),
    [
        ("segmenter", ["--box", "200,200,300,300"], "outside the photograph of 96 x 64"),
        ("segmenter", ["--point", "96,10"], "outside the photograph of 96 x 64"),
        ("segmenter", ["--box", "60,20,10,50"], "x0 must be below x1"),
        ("segmenter", ["--box", "1,2,3"], "x0,y0,x1,y1"),
        ("segmenter", ["--box", "1,2,3,4", "--words"], "ask one of them"),
        ("segmenter", ["--detections"], "not known for one"),
        ("segmenter", ["--word", "1"], "without word scores"),
        ("segmenter", ["--layout", "batch banana", "--layer", "body.0"], "layout"),
        ("segmenter", ["--layout", "batch channels height width"], "say which"),
        ("segmenter", ["--layout", "batch height channels", "--layer", "body.0"], "does not fit layer 'body.0'"),
        ("detector", ["--point", "48,32"], "about a box, not a point"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(files, network, args, says):
    assert says in refused(asked(files, network, *args))


def test_a_layout_is_said_at_the_shell(files):
    told = ["--layer", "body.0", "--target", "1"]
    plain, said = (
        json.loads(asked(files, "segmenter", *told, *more).stdout)["images"][0]["targets"][0]["peak"]
        for more in ([], ["--layout", "batch channels height width"])
    )
    assert plain == said


class Crafted:
    """What makes a folder when it is unpickled."""

    def __reduce__(self):
        import os

        return os.mkdir, ("ran",)


@pytest.mark.parametrize("name", ["net.pt", "net.bin", "net.pt2", "net.onnx", "net.safetensors"])
def test_a_crafted_or_truncated_file_is_refused_in_one_line_and_runs_nothing(files, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    torch.save(Crafted(), tmp_path / name)
    refused(limelight(files / "a.png", "--model", name, "--input-size", "32", "--json"))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:200])
    refused(limelight(files / "a.png", "--model", name, "--input-size", "32", "--trust", "--json"))
    assert not (tmp_path / "ran").exists()


def shell(*args: object):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_layers_and_doctor_take_a_network_saved_whole_as_explain_does(files):
    network, how = files / "segmenter.pt", ("--trust", "--input-size", "64x96", "--norm", "unit")
    assert "trust" in refused(shell("layers", network))
    assert "trust" in refused(shell("doctor", network))
    assert "--on PHOTO" in refused(shell("layers", network, *how, "--target", "1"))
    found = json.loads(shell("layers", network, *how, "--json").stdout)
    assert found["input"] == [64, 96]
    assert {each["layer"]: each["grid"] for each in found["layers"]}["body.2"] == [16, 24]
    measured = json.loads(shell("layers", network, *how, "--on", files / "a.png", "--json").stdout)["layers"]
    assert all(each["alive"] is not None for each in measured if each["main"])
    done = shell("doctor", network, files / "a.png", *how, "--json")
    assert done.exit_code in (0, 1) and json.loads(done.stdout)["pictures"] == 1


def test_what_a_cell_sees_needs_no_photograph(files):
    listed = json.loads(shell("layers", files / "segmenter.pt", "--trust", "--all", "--json").stdout)["layers"]
    sees = {each["layer"]: each["receptive_field"] for each in listed}
    assert (sees["body.0"], sees["body.2"]) == ([3, 3], [7, 7])
    assert "7x7" in shell("layers", files / "segmenter.pt", "--trust").stdout
