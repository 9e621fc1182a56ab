"""Pictures: what an overlay may change, what it must leave alone, and how a sheet is laid out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from limelight import lettering, render, sheet
from limelight.errors import InputError, MissingExtra

HEIGHT, WIDTH = 90, 120


@pytest.fixture
def photo() -> Image.Image:
    """Noise in colour: every pixel differs from its neighbours, so a pixel moved or smoothed shows."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


@pytest.fixture
def blob() -> np.ndarray:
    """One warm spot with its top, 1, at row 40 and column 60, and nothing at the margins."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.clip(1.02 * np.exp(-((x - 60) ** 2 + (y - 40) ** 2) / 400) - 0.02, 0, 1).astype(np.float32)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("draw", [render.overlay, render.diverging])
def test_no_evidence_leaves_the_photograph_unchanged(photo, draw):
    result = draw(photo, np.zeros((HEIGHT, WIDTH)), contours=True)
    np.testing.assert_array_equal(pixels(result), pixels(photo))


def test_heat_shows_where_it_is_and_nowhere_else(photo, blob):
    change = np.abs(pixels(render.overlay(photo, blob)) - pixels(photo)).sum(axis=2)
    assert change[35:45, 55:65].mean() > 100
    assert not change[blob == 0].any()


def test_the_hottest_place_still_shows_the_texture(photo):
    """Under even heat the picture's brightness follows the photograph's."""
    result = render.overlay(photo, np.ones((HEIGHT, WIDTH)))
    grey, shown = np.asarray(photo.convert("L")), np.asarray(result.convert("L"))
    assert np.corrcoef(grey.ravel(), shown.ravel())[0, 1] > 0.99
    assert shown.std() > 0.25 * grey.std()


def test_heat_looks_the_same_on_a_red_and_on_a_blue_cup():
    """Equal brightness, equal heat, equal colour: the photograph's hue never reads as evidence."""
    hot = np.ones((1, 1))
    red, blue = ([pixels(render.overlay(Image.new("RGB", (1, 1), colour), hot))] for colour in ("#d00", "#2256b4"))
    assert np.abs(np.subtract(red, blue)).max() <= 8


def test_the_signs_of_a_signed_map_look_different(photo, blob):
    above, below = render.diverging(photo, blob), render.diverging(photo, -blob)
    difference = np.abs(pixels(above) - pixels(below)).sum(axis=2)
    assert difference[40, 60] > 100 and not difference[blob == 0].any()


def test_alpha_zero_takes_no_colour_and_alpha_one_all_of_it(photo):
    hot = np.ones((HEIGHT, WIDTH))
    np.testing.assert_array_equal(render.overlay(photo, hot, alpha=0), photo.convert("L").convert("RGB"))
    np.testing.assert_array_equal(render.overlay(photo, hot, alpha=1), render.heat_image(hot))


def test_the_photo_and_the_map_are_not_written_to(photo, blob):
    before, heat = pixels(photo), blob.copy()
    render.overlay(photo, heat, seen=(20, 10, 100, 80), contours=True, legend=True, title="cat")
    np.testing.assert_array_equal(pixels(photo), before)
    np.testing.assert_array_equal(heat, blob)


# what the network never saw


def test_what_was_not_seen_never_gets_heat(photo, blob):
    """Outside the box the picture is the same whatever the map says there."""
    seen = (50, 20, 90, 70)
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[20:70, 50:90] = False
    one, other = (pixels(render.overlay(photo, heat, seen=seen, contours=True)) for heat in (blob, 1 - blob))
    np.testing.assert_array_equal(one[outside], other[outside])
    assert np.abs(one - pixels(photo))[outside].mean() > 20  # and it is visibly left out
    assert np.ptp(one[:10], axis=2).max() < 8  # without colour


def test_what_was_seen_is_as_without_the_box(photo, blob):
    whole, boxed = (pixels(render.overlay(photo, blob, seen=seen)) for seen in (None, (50, 20, 90, 70)))
    np.testing.assert_array_equal(boxed[20:70, 50:90], whole[20:70, 50:90])


@pytest.mark.parametrize("seen", [(0, 0, WIDTH, HEIGHT), (-5, -7.5, WIDTH + 30, HEIGHT + 0.2), (0.3, 0, 119.8, 90)])
def test_a_box_around_everything_draws_nothing(photo, blob, seen):
    np.testing.assert_array_equal(render.overlay(photo, blob, seen=seen), render.overlay(photo, blob))


def test_no_line_is_drawn_along_the_edge_of_the_photo(photo, blob):
    """A centre crop of a wide photo leaves two margins; its top and bottom rows are seen to the last pixel."""
    whole, cropped = (pixels(render.overlay(photo, blob, seen=seen)) for seen in (None, (15, 0, 105, HEIGHT)))
    np.testing.assert_array_equal(cropped[:, 15:105], whole[:, 15:105])


def test_the_edge_of_what_was_seen_is_a_light_and_a_dark_line(blob):
    """One of the two shows on any photograph."""
    for shade in (0, 128, 255):
        row = pixels(render.overlay(Image.new("RGB", (WIDTH, HEIGHT), (shade,) * 3), 0 * blob, seen=(30, 0, 90, 90)))[5]
        assert row[29].min() > 240 and row[28].max() < 50 and row[90].min() > 240 and row[91].max() < 50


@pytest.mark.parametrize("seen", [(10, 10, 10, 50), (200, 0, 300, 90), (float("nan"), 0, 50, 50), (50, 0, 10, 90)])
def test_a_box_without_pixels_is_refused(photo, blob, seen):
    with pytest.raises(InputError, match="holds no pixel"):
        render.overlay(photo, blob, seen=seen)


# contours


def test_contours_follow_the_levels(blob):
    """On black and on white alike, what the lines change lies within a few pixels of a level."""
    for shade in ("black", "white"):
        ground = Image.new("RGB", (WIDTH, HEIGHT), shade)
        with_lines, without = (pixels(render.overlay(ground, blob, contours=contours)) for contours in (True, False))
        changed = np.abs(with_lines - without).max(axis=2) > 40
        for level in render.CONTOURS:
            crossing = 60 + np.argmin(blob[40, 60:] > level)
            assert changed[40, crossing - 2 : crossing + 2].any()
        slope = 0.045  # the blob's steepest, a pixel
        assert np.min([np.abs(blob - level) for level in render.CONTOURS], axis=0)[changed].max() < 3 * slope


def test_a_flat_map_at_a_level_is_not_all_line(photo):
    flat = np.full((HEIGHT, WIDTH), render.CONTOURS[0], np.float32)
    np.testing.assert_array_equal(render.overlay(photo, flat, contours=True), render.overlay(photo, flat))


def test_a_single_row_has_no_contours():
    assert render.overlay(Image.new("RGB", (5, 1)), np.ones((1, 5)), contours=True).size == (5, 1)


# strips


def test_size_is_kept_without_strips_and_width_with_them(photo, blob):
    large, heat = photo.resize((360, 270)), np.kron(blob, np.ones((3, 3)))
    assert render.overlay(large, heat).size == (360, 270)
    decorated = render.overlay(large, heat, legend=True, title="Egyptian cat  0.93")
    assert decorated.width == 360 and decorated.height > 300


def test_strips_cover_nothing_of_the_photo(photo, blob):
    plain, titled = (pixels(render.overlay(photo, blob, title=title)) for title in (None, "Egyptian cat"))
    left, top = (titled.shape[1] - WIDTH) // 2, titled.shape[0] - HEIGHT
    np.testing.assert_array_equal(titled[top:, left : left + WIDTH], plain)


def test_a_small_photo_gets_a_page_wide_enough_to_read():
    small = render.overlay(Image.new("RGB", (32, 32)), np.zeros((32, 32)), legend=True, title="airplane")
    assert small.width == render.NARROWEST
    assert (pixels(small)[:20] < 100).any()  # there are letters above


def test_a_long_title_takes_two_lines_and_no_more(photo, blob):
    one, two, many = (render.overlay(photo, blob, title="word " * count).height for count in (2, 12, 500))
    assert one < two == many


def test_the_legend_of_a_signed_map_runs_from_one_side_to_the_other(photo, blob):
    legend = pixels(render.diverging(photo, blob, legend=True))[HEIGHT + 10]
    left, middle, right = legend[12], legend[legend.shape[0] // 2], legend[-12]
    assert left[2] > left[0] + 50 and right[0] > right[2] + 50 and np.ptp(middle) < 10


@pytest.fixture(params=["the fonts of this machine", "Pillow's font alone"])
def fonts(request, monkeypatch):
    if request.param == "Pillow's font alone":
        monkeypatch.setattr(lettering, "WIDER_FONTS", ())
    lettering._fonts.cache_clear()
    yield request.param
    lettering._fonts.cache_clear()


@pytest.mark.parametrize(
    "title", ["Weißbier aus São Paulo", "猫", "שלום", "a\x00b\u200b", "\udcff.jpg", " ", "x" * 999]
)
def test_any_label_can_be_written(photo, blob, title, fonts):
    render.overlay(photo, blob, title=title)


@pytest.mark.parametrize("fonts", ["Pillow's font alone"], indirect=True)
def test_letters_without_a_font_lose_their_accent_or_become_a_question_mark(fonts):
    assert lettering._legible("São 猫 ½", 14)[0] == "Sao ? ?"


# what is refused


@pytest.mark.parametrize(
    ("heat", "message"),
    [
        (np.full((HEIGHT, WIDTH), np.nan), "NaN"),
        (np.where(np.eye(HEIGHT, WIDTH) > 0, np.nan, 0.5), "NaN"),
        (np.full((HEIGHT, WIDTH), np.inf), "outside"),
        (np.full((HEIGHT, WIDTH), 1.01), "outside 0 to 1"),
        (np.full((HEIGHT, WIDTH), -0.5), "outside 0 to 1"),
        (np.zeros((WIDTH, HEIGHT)), "90 wide and 120 high, the photo 120 and 90"),
        (np.zeros((1, HEIGHT, WIDTH)), "shape is"),
        (np.zeros((0, 0)), "empty"),
    ],
)
def test_a_map_that_would_mislead_never_reaches_a_picture(photo, heat, message):
    with pytest.raises(InputError, match=message):
        render.overlay(photo, heat)


def test_a_signed_map_has_its_own_range(photo):
    render.diverging(photo, np.full((HEIGHT, WIDTH), -1))
    with pytest.raises(InputError, match="outside -1 to 1"):
        render.diverging(photo, np.full((HEIGHT, WIDTH), -1.2))


def test_rounding_beyond_the_range_is_forgiven(photo):
    just, exact = np.full((HEIGHT, WIDTH), 1 + 1e-6), np.ones((HEIGHT, WIDTH))
    np.testing.assert_array_equal(render.overlay(photo, just), render.overlay(photo, exact))


def test_a_photo_that_is_not_rgb_is_refused(photo, blob):
    with pytest.raises(InputError, match="'L', not 'RGB'"):
        render.overlay(photo.convert("L"), blob)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_out_of_range_is_refused(photo, blob, alpha):
    with pytest.raises(InputError, match="alpha"):
        render.overlay(photo, blob, alpha=alpha)


# bare maps, sheets and figures


def test_the_bare_map_has_the_ends_of_the_colour_map():
    picture = pixels(render.heat_image(np.array([[0.0, 1.0]])))
    np.testing.assert_array_equal(picture[0], render.colormaps.colormap("limelight")[[0, 255]])


def test_a_sheet_keeps_every_aspect_in_equal_columns():
    """Solid pictures can be measured on the page: each fits its cell, is centred and stands on its row's floor."""
    shapes = {"red": (200, 100), "lime": (100, 200), "blue": (50, 50)}
    page = pixels(
        sheet.contact_sheet([(Image.new("RGB", shape, colour), "") for colour, shape in shapes.items()], tile=80)
    )
    gap = 6
    assert page.shape == (80 + 2 * gap, 3 * 80 + 4 * gap, 3)
    for column, (channel, size) in enumerate([(0, (80, 40)), (1, (40, 80)), (2, (80, 80))]):
        is_it = (page[..., channel] == 255) & (np.delete(page, channel, axis=2) == 0).all(axis=2)
        rows, columns = np.nonzero(is_it)
        assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == size
        assert rows.max() == gap + 80 - 1
        assert columns.min() + columns.max() == 2 * (gap + column * (80 + gap)) + 79


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (6, 3), (8, 4), (9, 3), (10, 5)]
)
def test_a_sheet_chooses_a_grid_with_few_holes(count, columns):
    page = sheet.contact_sheet([(Image.new("RGB", (10, 10)), "")] * count, tile=32)
    assert page.size == (6 + columns * 38, 6 + -(-count // columns) * 38)


def test_captions_and_heading_add_room_below_and_above():
    tiles = [(Image.new("RGB", (10, 10)), "")] * 2
    bare, headed = sheet.contact_sheet(tiles), sheet.contact_sheet(tiles, title="Why")
    captioned = sheet.contact_sheet([(picture, "a caption") for picture, _ in tiles])
    assert bare.width == headed.width == captioned.width
    assert bare.height < min(headed.height, captioned.height)


def test_a_dark_sheet_is_light_on_dark():
    page = pixels(sheet.contact_sheet([(Image.new("RGB", (10, 10)), "caption")], dark=True))
    assert np.median(page[-30:]) < 40 and page.max() > 200


@pytest.mark.parametrize("wrong", [{"columns": 0}, {"tile": 3}])
def test_a_senseless_grid_is_refused(wrong):
    with pytest.raises(InputError, match="No grid"):
        sheet.contact_sheet([(Image.new("RGB", (10, 10)), "")], **wrong)


def test_an_empty_sheet_is_refused():
    with pytest.raises(InputError, match="at least one"):
        sheet.contact_sheet([])


def test_a_figure_shows_photo_and_maps_without_pyplot(photo, blob):
    """pyplot would pick a windowing back-end and keep every figure alive."""
    pytest.importorskip("matplotlib")
    loaded = "matplotlib.pyplot" in sys.modules
    figure = render.figure(photo, [blob, blob**2], ["Grad-CAM", "costs $5 to $6_"])
    figure.canvas.draw()
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    panels = [axis.get_title() for axis in figure.axes]
    assert panels == ["photograph", "Grad-CAM", "costs $5 to $6_"]


def test_a_figure_needs_a_title_for_each_map(photo, blob):
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match="1 maps with 2 titles"):
        render.figure(photo, [blob], ["a", "b"])


def test_a_figure_without_matplotlib_says_what_to_install(photo, blob, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(MissingExtra, match=r"limelight\[plot\]"):
        render.figure(photo, [blob], ["a"])
