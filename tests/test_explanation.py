"""explanation.py: what follows from the raw maps, and how it is looked at, saved and cut up."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import limelight as ll
from limelight.errors import InputError
from limelight.explanation import Explanation, Prediction
from limelight.models import Model
from limelight.preprocessing import View
from limelight.targets import Named
from tests.networks import CLASSES, Plain, pictures

pytestmark = pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")

MODEL = Model(Plain(), ll.Preprocessing((12, 12), (0.5,) * 3, (0.25,) * 3), tuple("abcde"), "small", "random", CLASSES)


def made(*raws: torch.Tensor, size: tuple[int, int] = (28, 28), views: list[View] | None = None, fusion="mean"):
    """An explanation of given raw maps ``(batch, targets, *grid)``."""
    batch, targets = raws[0].shape[:2]
    return Explanation(
        raws=raws,
        layers=tuple(f"layer{k}" for k in range(len(raws))),
        method="gradcam",
        targets=[[Named(j, f"thing {j}") for j in range(targets)]] * batch,
        scores=torch.zeros(batch, targets),
        probabilities=torch.full((batch, targets), 0.25),
        predictions=[[Prediction(0, "thing 0", 0.25)]] * batch,
        input_size=size,
        fusion=fusion,
        views=views or [],
        inputs=None if views else torch.rand(batch, 3, *size),
    )


def impulse(row: int, column: int, grid: int = 7) -> torch.Tensor:
    raw = torch.full((1, 1, grid, grid), -0.5)
    raw[0, 0, row, column] = 2.0
    return raw


def photo(height: int = 30, width: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


# ---- shapes and maps


def test_shapes_and_ranges():
    e = ll.explain(Plain(), pictures(3), target=ll.top(2), layer="cut")
    assert e.raw.shape == (3, 2, 6, 6)
    assert e.maps.shape == (3, 2, 12, 12)
    assert e.scores.shape == e.probabilities.shape == (3, 2)
    assert e.peaks.shape == (3, 2, 2)
    assert (len(e.targets), len(e.targets[0]), len(e.predictions)) == (3, 2, 3)
    assert (e.method, e.layer) == ("gradcam", "cut")
    assert e.raw.min() < 0, "raw maps are signed"
    assert e.maps.min() >= 0
    assert e.maps.max() <= 1
    assert not any(t.requires_grad for t in (e.raw, e.maps, e.scores, e.probabilities, e.peaks))


def test_a_map_is_each_on_its_own_scale():
    both = torch.cat([impulse(2, 3), impulse(4, 4) * 1000])
    assert torch.equal(made(both).maps[0], made(impulse(2, 3)).maps[0])


# ---- as a sequence


def test_a_slice_is_the_explanation_of_those_images():
    network, x = Plain(), pictures(4)
    whole = ll.explain(network, x, layer=["stem", "cut"])
    for part, chosen in (
        (whole[1], slice(1, 2)),
        (whole[-1], slice(3, 4)),
        (whole[1:3], slice(1, 3)),
        (whole[-2:], slice(2, 4)),
    ):
        assert len(part) == len(x[chosen])
        assert part.targets == whole.targets[chosen]
        assert part.predictions == whole.predictions[chosen]
        assert torch.equal(part.scores, whole.scores[chosen])
        assert torch.equal(part.maps, whole.maps[chosen])
        assert torch.equal(part.peaks, whole.peaks[chosen])
        assert torch.equal(part.inputs, x[chosen])
        assert part.records() == whole.records()[chosen]


def test_iteration_gives_each_image_and_ends():
    whole = ll.explain(Plain(), pictures(3), layer="cut")
    assert [one.records() for one in whole] == [[record] for record in whole.records()]


def test_beyond_the_end_and_with_a_step_is_refused():
    whole = made(impulse(1, 1))
    with pytest.raises(IndexError):
        whole[1]
    with pytest.raises(InputError, match="without a step"):
        whole[::2]
    assert len(whole[:0]) == 0


def test_joining_slices_gives_the_whole():
    whole = ll.explain(MODEL, [photo(seed=i) for i in range(4)], target=ll.top(2), layer=["stem", "cut"])
    again = Explanation.join([whole[:1], whole[1:3], whole[3:]])
    assert again.records() == whole.records()
    assert all(torch.equal(a, b) for a, b in zip(again.raws, whole.raws, strict=True))
    assert torch.equal(again.heat(3, 1), whole.heat(3, 1))


def test_it_says_what_it_is():
    assert repr(made(impulse(1, 1))) == "<Explanation of 1 image, 1 target each, by gradcam at layer0>"
    assert "2 images, 3 targets" in repr(made(torch.ones(2, 3, 4, 4), torch.ones(2, 3, 2, 2)))


# ---- peaks


@pytest.mark.parametrize("cell", [(0, 0), (2, 5), (6, 6)])
@pytest.mark.parametrize("size", [(28, 28), (224, 112), (7, 7), (30, 31)])
def test_a_peak_is_its_cells_centre_in_pixels_of_the_input(cell, size):
    row, column = cell
    peak = made(impulse(row, column), size=size).peaks[0, 0].tolist()
    assert peak == pytest.approx([(column + 0.5) * size[1] / 7, (row + 0.5) * size[0] / 7])


def test_a_peak_is_in_pixels_of_the_photograph():
    view = View((100, 60), (20.0, 4.0, 76.0, 60.0), (28, 28))
    assert made(impulse(2, 5), views=[view]).peaks[0, 0].tolist() == pytest.approx([20 + 5.5 * 8, 4 + 2.5 * 8])


def test_a_letter_boxs_bars_hold_no_peak():
    view = View((100, 40), (0.0, -30.0, 100.0, 70.0), (28, 28))
    raw = impulse(0, 3)  # on the bar above
    raw[0, 0, 3, 1] = 1.0  # on the photograph
    assert made(raw, views=[view]).peaks[0, 0].tolist() == pytest.approx([1.5 * 100 / 7, -30 + 3.5 * 100 / 7])


def test_several_layers_peak_where_their_fused_map_does():
    raws = torch.zeros(1, 1, 7, 7), torch.zeros(1, 1, 4, 4)
    raws[0][0, 0, 5, 5], raws[0][0, 0, 1, 1] = 1.0, 0.9
    raws[1][0, 0, 0, 0] = 3.0
    e = made(*raws)
    x, y = e.peaks[0, 0].tolist()
    assert e.maps[0, 0, int(y), int(x)] == e.maps.max()
    assert (x, y) == pytest.approx((6, 6), abs=2)


@pytest.mark.parametrize("fit", ["crop", "whole", "pad"])
@pytest.mark.parametrize("shape", [(30, 40), (64, 25), (300, 400)])
def test_the_peak_is_where_the_heat_on_the_photograph_is_highest(fit, shape):
    e = ll.explain(MODEL, photo(*shape), fit=fit, layer="cut", target=ll.top(CLASSES))
    height, width = shape
    seen = 0
    for j in range(CLASSES):
        heat, (x, y) = e.heat(0, j), e.peaks[0, j].tolist()
        assert heat.shape == shape
        if not heat.any():
            continue
        seen += 1
        assert 0 <= x <= width
        assert 0 <= y <= height
        if fit != "pad":  # there a bar's cell may reach onto the photograph
            # A cell's centre lies within half a pixel of a pixel's; a cell is five pixels or more.
            assert heat[min(int(y), height - 1), min(int(x), width - 1)] >= 0.75 * heat.max()
    assert seen


def test_what_a_crop_left_out_is_not_explained():
    e = ll.explain(MODEL, photo(30, 90), layer="cut", target=ll.top(CLASSES))
    x0, _, x1, _ = e.views[0].box
    assert x0 > 5
    for j in range(CLASSES):
        heat = e.heat(0, j)
        assert not heat[:, : int(x0)].any()
        assert not heat[:, int(x1) + 1 :].any()
    assert any(e.heat(0, j).any() for j in range(CLASSES))


def test_a_map_of_zeros_has_no_peak_and_says_so():
    e = made(torch.cat([impulse(1, 1), -torch.ones(1, 1, 7, 7)]))
    assert e.peaks[1].isnan().all()
    assert not e.peaks[0].isnan().any()
    assert e.warnings[0] == [None]
    for words in ("'layer0'", "'thing 0'", "counter(...)", "earlier layer"):
        assert words in e.warnings[1][0]
    assert e.records()[1]["targets"][0]["peak"] is None


# ---- pictures, files


def test_an_overlay_has_the_photographs_own_size():
    e = ll.explain(MODEL, [photo(30, 40), photo(64, 25)], target=ll.top(2), layer="cut")
    assert e.overlay().size == (40, 30)
    assert e.overlay(1, target=1).size == (25, 64)
    assert e.overlay().tobytes() != e.overlay(0, 1).tobytes() or torch.equal(e.heat(0, 0), e.heat(0, 1))


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_a_tensor_of_any_channels_has_a_picture(channels):
    e = replace(made(impulse(1, 1)), inputs=torch.rand(1, channels, 28, 28) * 5 - 2)
    assert e.overlay().size == (28, 28)
    assert e.photo().getextrema()[0] == (0, 255)


def test_captions():
    e = made(impulse(1, 1))
    assert e.caption() == "thing 0 25.0%"
    assert replace(e, probabilities=torch.full((1, 1), torch.nan)).caption() == "thing 0 (score 0)"


def check_schema(images: list[dict], targets: int) -> None:
    for image in images:
        assert {"path", "size", "predictions", "targets", "error"} <= image.keys()
        assert image["error"] is None
        assert [type(v) for v in image["size"]] == [int, int]
        for prediction in image["predictions"]:
            assert prediction.keys() == {"index", "label", "probability"}
        assert len(image["targets"]) == targets
        for target in image["targets"]:
            fields = ["index", "label", "score", "probability", "method", "layer", "peak", "overlay", "warning"]
            assert list(target) == fields
            assert target["peak"] is None or [type(v) for v in target["peak"]] == [float, float]


def test_saving_writes_every_overlay_and_the_records(tmp_path):
    paths = []
    for i in range(2):
        paths.append(tmp_path / f"photo{i}.png")
        Image.fromarray(photo(30, 40, i)).save(paths[-1])
    e = ll.explain(MODEL, paths, target=ll.each("b", lambda out: out[:, 0] - out[:, 1]), layer="cut")
    written = e.save(tmp_path / "new" / "out")
    assert [path.name for path in written] == [
        "photo0_b.png",
        "photo0_score.png",
        "photo1_b.png",
        "photo1_score.png",
        "explanation.json",
    ]
    document = json.loads(written[-1].read_text())
    check_schema(document["images"], 2)
    assert [image["path"] for image in document["images"]] == [str(path) for path in paths]
    assert document["images"][0]["size"] == [40, 30]
    assert document["images"][0]["targets"][1]["probability"] is None
    for image in document["images"]:
        for target in image["targets"]:
            with Image.open(target["overlay"]) as picture:
                assert picture.size == (40, 30)
    assert sorted(p.name for p in (tmp_path / "new" / "out").iterdir()) == sorted(p.name for p in written)


def test_records_are_the_explanations_numbers():
    e = ll.explain(MODEL, photo(), target=ll.top(2), layer="cut")
    (record,) = json.loads(json.dumps(e.records()))
    check_schema([record], 2)
    assert [t["score"] for t in record["targets"]] == pytest.approx(e.scores[0].tolist())
    assert [t["label"] for t in record["targets"]] == [p["label"] for p in record["predictions"][:2]]
    for target, peak in zip(record["targets"], e.peaks[0].tolist(), strict=True):
        assert target["peak"] is None or target["peak"] == pytest.approx(peak, abs=0.01)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write to"):
        made(impulse(1, 1)).save(tmp_path / "file")


def test_a_notebook_shows_pictures_and_escapes_labels():
    e = replace(made(torch.ones(7, 2, 4, 4)), targets=[[Named(0, "<b>cat</b>"), Named(1, "dog & co")]] * 7)
    shown = e._repr_html_()
    assert shown.count("src='data:image/png;base64,") == 12
    assert "and 2 more" in shown
    assert "&lt;b&gt;cat&lt;/b&gt;" in shown
    assert "dog &amp; co" in shown
    assert "<b>" not in shown


# ---- known bugs


def test_a_thin_photograph_in_a_letter_box_has_a_peak():
    view = View((100, 8), (0.0, -46.0, 100.0, 54.0), (32, 32))
    e = made(torch.ones(1, 1, 8, 8), size=(32, 32), views=[view])
    assert not e.peaks.isnan().any()


def test_a_product_that_is_zero_everywhere_is_told():
    e = made(impulse(0, 0).clamp(min=0), impulse(6, 6).clamp(min=0), fusion="product")
    assert not e.maps.any()
    assert e.warnings[0][0]


def test_every_target_has_a_file_of_its_own(tmp_path):
    e = ll.explain(Plain(), pictures(1), ll.each(lambda out: out[:, 0], lambda out: out[:, 1]), layer="cut")
    assert len(set(e.save(tmp_path))) == 3
