"""The network of many cells: from Lite0's weights to a run that is used like any other."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import limelight as ll
from limelight.models.fine import Fine
from limelight.training import read_run, train
from limelight.training.cells import one_against_the_rest
from tests.training.sets import learnt, noise

NETWORK, SIZE, CLASSES = "efficientnet_lite0_fine", 96, ("blue", "red")


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    """Weights of the whole Lite0 "that have learnt", of which the fine network takes the first stages."""
    return learnt(tmp_path_factory.mktemp("weights") / "body.pt", "efficientnet_lite0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small squares of either colour on noise."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label, channel in zip(CLASSES, (2, 0), strict=True):
        (root / label).mkdir()
        for i in range(20):
            pixels = noise(120, 2 * i + channel, (60, 60))
            top, left = rng.integers(0, 36, 2)
            pixels[top : top + 24, left : left + 24] = 20
            pixels[top : top + 24, left : left + 24, channel] = 250
            Image.fromarray(pixels).save(root / label / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def frozen(folder, body, tmp_path_factory):
    return train(folder, tmp_path_factory.mktemp("runs") / "run", model=NETWORK, weights=body, size=SIZE, frozen=True)


def test_the_first_stages_keep_their_weights(body):
    whole = torch.load(body)
    fine = ll.load(NETWORK, weights=body)
    assert isinstance(fine.network, Fine) and fine.num_classes == 0
    for name, value in fine.network.state_dict().items():
        assert torch.equal(value, whole[name.removeprefix("body.")]), name
    assert fine.network(torch.zeros(1, 3, 64, 64)).shape == (1, 672)
    assert fine.preprocessing.size == (448, 448)


def test_a_class_is_the_mean_of_its_strongest_cells():
    network = Fine(torch.nn.Identity(), 5, 2, strongest=0.25)
    x = torch.randn(3, 5, 4, 4)
    cells = torch.einsum("kc,bcij->bkij", network.evidence.weight[..., 0, 0], x).flatten(2)
    assert torch.allclose(network(x), cells.sort(2).values[..., -4:].mean(2), atol=1e-6)


def test_it_learns_and_says_what_it_reported(frozen):
    assert frozen.accuracy == 1.0 and frozen.report["phase"] == "frozen"
    run = read_run(frozen.folder)
    assert run.dataset.of("val")  # to calibrate by
    model = frozen.model()
    assert model.name == f"embedded/{NETWORK}" and model.labels == CLASSES
    shown = torch.stack([model.preprocessing(ll.read(item.path).pixels)[0] for item in run.dataset.items])
    with torch.inference_mode():
        said = model.network(shown).softmax(1).numpy()
    assert np.abs(said - run.probabilities).max() < 0.02  # its cells are kept in half precision


def test_its_map_is_its_evidence(frozen, folder):
    model = frozen.model()
    said = ll.explain(model, folder / "red" / "00.png", target="red")
    x = model.preprocessing(ll.read(folder / "red" / "00.png").pixels)[0][None]
    with torch.inference_mode():
        evidence = model.network.evidence(model.network.body(x))[0, 1].clamp(min=0)
    raw = said.raws[-1].squeeze().clamp(min=0)
    assert raw.shape == evidence.shape == (6, 6)
    assert torch.allclose(raw / raw.max(), evidence / evidence.max(), atol=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_an_interrupted_run_goes_on(frozen, folder, body, tmp_path, monkeypatch):
    from limelight.training import cells

    how = {"model": NETWORK, "weights": body, "size": SIZE, "frozen": True}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cells, "_learn", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        train(folder, tmp_path / "run", **how)
    monkeypatch.setattr(cells, "_cells", None)  # what was computed is kept
    again = train(folder, tmp_path / "run", **how, resume=True)
    for name in ("model.safetensors", "report.json", "predictions.parquet"):
        assert (again.folder / name).read_bytes() == (frozen.folder / name).read_bytes()


def test_it_is_fine_tuned_from_there_and_a_run_of_it_is_a_start(frozen, folder, tmp_path):
    run = train(folder, tmp_path / "run", model=str(frozen.folder), size=64, epochs=1, learning_rate=1e-4)
    assert run.report["phase"] == "fine-tuned"
    card = json.loads((run.folder / "card.json").read_text())
    assert card["architecture"] == f"embedded/{NETWORK}"
    assert torch.isfinite(next(iter(run.model().network.evidence.parameters()))).all()


def test_each_class_is_asked_by_itself():
    outputs, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    plain = F.binary_cross_entropy_with_logits(outputs, F.one_hot(labels, 3).float())
    assert torch.allclose(one_against_the_rest(outputs, labels), plain)
    assert torch.allclose(one_against_the_rest(outputs, labels, torch.ones(3)), plain)
    only = one_against_the_rest(outputs, labels, torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(only, one_against_the_rest(outputs[[0, 5]], labels[[0, 5]]))
    assert one_against_the_rest(outputs * 1e3, outputs.argmax(1), smoothing=0.1) > 1
