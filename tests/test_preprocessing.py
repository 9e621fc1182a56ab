"""preprocessing.py: the input is what timm and torchvision make of a picture, and the view says where it lay."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from limelight.errors import InputError, ModelError
from limelight.preprocessing import Preprocessing, View

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NOT_RGB = [(1, 9, 9), (1, 3, 9, 9), (9, 9, 3), (3, 0, 9), (9, 9)]
FITS = ["crop", "whole", "pad"]
SIZES = [(200, 300), (301, 203), (64, 64), (97, 500), (231, 230)]  # height, width


def smooth(height: int, width: int) -> torch.Tensor:
    """A picture of waves: it has edges' worth of detail, but no noise that would show the order of the passes."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(columns / 9 + phase) + np.cos(rows / 7 - phase) for phase in (0, 1, 2)]
    return torch.from_numpy((np.stack(waves) * 60 + 128).astype(np.uint8))


def pil(pixels: torch.Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def levels(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """How far two inputs are apart, in grey levels of 0..255."""
    return (a - b).abs() * torch.tensor(STD)[:, None, None] * 255


@pytest.mark.parametrize("photo", SIZES)
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("size", "crop"), [((96, 96), 0.875), ((96, 96), 1.0), ((96, 96), 1.15), ((64, 112), 0.9)])
def test_crop_is_the_transform_timm_evaluates_with(photo, mode, size, crop):
    # A network explained on another picture than it was evaluated on is explained wrongly.
    from timm.data.transforms_factory import create_transform

    prepare = Preprocessing(size, MEAN, STD, "bicubic", crop, mode)
    reference = create_transform(
        (3, *size), interpolation="bicubic", mean=MEAN, std=STD, crop_pct=crop, crop_mode=mode, is_training=False
    )
    pixels = smooth(*photo)
    mine, _ = prepare(pixels)
    assert mine.dtype == torch.float32
    assert levels(mine, reference(pil(pixels))).max() < 2.01  # levels: the passes round apart
    assert levels(mine, reference(pil(pixels))).mean() < 0.05


@pytest.mark.parametrize("photo", SIZES)
def test_crop_is_the_transform_torchvision_evaluates_with(photo):
    from torchvision.transforms._presets import ImageClassification

    pixels = smooth(*photo)
    mine, _ = Preprocessing((224, 224), MEAN, STD, "bilinear", 224 / 232)(pixels)
    reference = ImageClassification(crop_size=224, resize_size=232)(pil(pixels))
    assert levels(mine, reference).max() < 2.01
    assert levels(mine, reference).mean() < 0.05


def test_whole_is_pillows_resize():
    pixels = smooth(120, 333)
    mine, view = Preprocessing((64, 80), MEAN, STD)(pixels, "whole")
    reference = np.asarray(pil(pixels).resize((80, 64), Image.Resampling.BICUBIC)).transpose(2, 0, 1) / 255
    reference = (torch.from_numpy(reference).float() - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
        :, None, None
    ]
    assert levels(mine, reference).max() < 1.01
    assert view == View((333, 120), (0, 0, 333, 120), (64, 80))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(24, 250),
    width=st.integers(24, 250),
    size=st.tuples(st.integers(24, 90), st.integers(24, 90)),
    crop=st.sampled_from([0.6, 0.875, 0.95, 1.0, 1.15]),
    mode=st.sampled_from(["center", "squash", "border"]),
    fit=st.sampled_from(FITS),
)
def test_view_says_where_each_input_pixel_lay(height, width, size, crop, mode, fit):
    # The picture's own colours are its coordinates, so the input says where it came from, and the view must agree.
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = torch.from_numpy(np.stack([columns, rows, 0 * rows]).astype(np.uint8))
    picture, view = Preprocessing(size, (0.0,) * 3, (1.0,) * 3, "bilinear", crop, mode)(pixels, fit)
    told_y, told_x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in size), indexing="ij")
    told_x, told_y = view.to_photo(told_x, told_y)
    # Within the filter's reach of an edge, the edge's colour is repeated.
    scale_y, scale_x = (view.box[3] - view.box[1]) / size[0], (view.box[2] - view.box[0]) / size[1]
    reach_y, reach_x = max(scale_y, 1) + 0.5, max(scale_x, 1) + 0.5
    sure = (told_x > reach_x) & (told_x < width - reach_x) & (told_y > reach_y) & (told_y < height - reach_y)
    assert ((picture[0] * 255 + 0.5 - told_x) * sure).abs().max() < 1.01
    assert ((picture[1] * 255 + 0.5 - told_y) * sure).abs().max() < 1.01


def test_views_coordinates_go_both_ways_for_numbers_and_tensors():
    view = View((300, 200), (50.0, -10.0, 250.0, 210.0), (110, 100))
    assert view.to_photo(0.0, 0.0) == (50.0, -10.0)
    assert view.to_photo(100.0, 110.0) == (250.0, 210.0)
    x, y = torch.rand(3, 4) * 100, torch.rand(3, 4) * 110
    for there_and_back, start in zip(view.to_input(*view.to_photo(x, y)), (x, y), strict=True):
        torch.testing.assert_close(there_and_back, start)


@pytest.mark.parametrize("photo", SIZES)
def test_pad_shows_all_of_the_picture_on_exactly_nothing(photo):
    # The border must be 0 to the network, and a map must be able to leave it out.
    height, width = photo
    picture, view = Preprocessing((96, 112), MEAN, STD)(smooth(*photo) // 2 + 100, "pad")
    x0, y0, x1, y1 = (round(edge) for edge in view.inside)
    inside = torch.zeros(96, 112, dtype=torch.bool)
    inside[y0:y1, x0:x1] = True
    assert (picture[:, ~inside] == 0).all()
    assert (picture[:, inside] != 0).any(dim=0).all()
    assert view.box[0] <= 0 and view.box[1] <= 0 and view.box[2] >= width and view.box[3] >= height
    assert abs((x1 - x0) / (y1 - y0) * height / width - 1) < 0.05, "the proportions are kept"


def test_a_crop_is_all_photograph():
    _, view = Preprocessing((96, 96), MEAN, STD)(smooth(200, 300))
    assert view.inside == (0, 0, 96, 96)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("photo", [(1, 1), (1, 700), (700, 1), (2, 100_000), (100_000, 3), (40_000, 40)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_thin_and_endless_pictures_are_prepared_too(fit, photo, mode, monkeypatch):
    # Resized whole for a centre crop, 2 x 100,000 pixels would become 800 MB; nor must a side round to nothing.
    resized = []
    resize = F.interpolate
    monkeypatch.setattr(F, "interpolate", lambda x, size, **how: resized.append(size) or resize(x, size, **how))
    pixels = torch.full((3, *photo), 200, dtype=torch.uint8)
    picture, view = Preprocessing((64, 64), MEAN, STD, crop_mode=mode)(pixels, fit)
    assert picture.shape == (3, 64, 64) and picture.isfinite().all()
    assert max(resized[0]) < 5_000
    x0, y0, x1, y1 = view.box
    assert abs((x0 + x1) / 2 - photo[1] / 2) < max(x1 - x0, 1) / 60, "the middle stays in the middle"
    assert abs((y0 + y1) / 2 - photo[0] / 2) < max(y1 - y0, 1) / 60
    if fit != "crop":
        assert x0 <= 0 and y0 <= 0 and x1 >= photo[1] and y1 >= photo[0], "nothing of it is lost"


def test_grey_networks_see_pillows_grey():
    pixels = smooth(70, 90)
    picture, _ = Preprocessing((32, 32), (0.5,), (0.25,))(pixels, "whole")
    reference = np.asarray(pil(pixels).convert("L").resize((32, 32), Image.Resampling.BICUBIC)) / 255
    assert picture.shape == (1, 32, 32)
    assert np.abs(picture[0].numpy() * 0.25 + 0.5 - reference).max() < 1.01 / 255


def test_the_layout_in_memory_does_not_matter():
    # Decoders give (height, width, 3) turned round; the picture must be the same bit for bit.
    pixels = smooth(150, 170)
    prepare = Preprocessing((64, 64), MEAN, STD)
    turned = pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not turned.is_contiguous()
    assert torch.equal(prepare(pixels)[0], prepare(turned)[0])


@pytest.mark.parametrize(
    "pixels",
    [torch.rand(3, 9, 9), *(torch.zeros(shape, dtype=torch.uint8) for shape in NOT_RGB)],
)
def test_anything_but_rgb_pixels_is_refused(pixels):
    with pytest.raises(InputError, match="uint8"):
        Preprocessing((8, 8), MEAN, STD)(pixels)


def test_an_unknown_fit_is_refused():
    with pytest.raises(InputError, match="crop, whole, pad"):
        Preprocessing((8, 8), MEAN, STD)(smooth(9, 9), "stretch")


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (0, 8)},
        {"size": (8,)},
        {"size": "big"},
        {"mean": (0.5,)},
        {"std": (0.0, 1.0, 1.0)},
        {"interpolation": "lanczos"},
        {"crop": 0.0},
        {"crop_mode": "random"},
        {"colour": "red"},
    ],
)
def test_a_description_that_makes_no_sense_is_refused_at_once(wrong):
    with pytest.raises(ModelError):
        Preprocessing.from_dict({"size": (8, 8), "mean": MEAN, "std": STD} | wrong)


def test_a_description_survives_json():
    prepare = Preprocessing((8, 12), MEAN, STD, "bilinear", 0.95, "squash")
    assert Preprocessing.from_dict(json.loads(json.dumps(prepare.as_dict()))) == prepare
