"""Training from a folder to a checkpoint, with a tiny network: what is written, that it is the same twice."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import limelight as ll
from limelight.errors import LimelightError
from limelight.training import read_run, train
from tests.training.sets import learnt

NETWORK, SIZE = "mobilenetv3_small_050", 32
CLASSES = "dark", "light"


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """Weights "that have learnt", so that there is a body to freeze."""
    return learnt(tmp_path_factory.mktemp("weights") / "body.pt", NETWORK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty pictures of noise, told apart by their brightness."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label, level in zip(CLASSES, (60, 160), strict=True):
        for i in range(20):
            picture = rng.integers(level, level + 60, (40, 48, 3)).astype(np.uint8)
            (root / label).mkdir(exist_ok=True)
            Image.fromarray(picture).save(root / label / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def frozen(folder, body, tmp_path_factory):
    return train(
        folder, tmp_path_factory.mktemp("runs") / "run", model=NETWORK, weights=body, size=SIZE, frozen=True, views=1
    )


def test_it_learns(frozen):
    assert frozen.accuracy == 1.0
    assert frozen.report["confusion"] == [[3, 0], [0, 3]]


def test_the_run_is_a_checkpoint_with_labels_and_preprocessing(frozen, folder):
    model = ll.load(frozen.folder)
    assert model.labels == CLASSES
    assert model.preprocessing.size == (SIZE, SIZE)
    for label in CLASSES:
        said = ll.explain(model, folder / label / "0.png", layer="blocks.1").predictions[0][0]
        assert said.label == label


def test_what_is_loaded_says_what_was_reported(frozen):
    run = read_run(frozen.folder)
    model = frozen.model()
    pictures = [model.preprocessing(ll.read(item.path).pixels)[0] for item in run.dataset.items]
    with torch.inference_mode():
        said = model.network(torch.stack(pictures)).softmax(1).numpy()
    assert np.abs(said - run.probabilities).max() < 1e-4
    assert json.loads((frozen.folder / "report.json").read_text())["accuracy"] == frozen.accuracy


def test_a_run_that_is_refused_leaves_its_folder_free(folder, tmp_path):
    for wrong in ({"splits": (0.5, 0.6, 0.7)}, {"frozen": True}):
        with pytest.raises(LimelightError):
            train(folder, tmp_path / "run", model="small_cnn", size=SIZE, **wrong)
        assert not (tmp_path / "run").exists()
