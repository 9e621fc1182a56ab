"""Copies are found however they were saved, and pictures that are only alike are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from limelight.data.grains import render
from limelight.images import read
from limelight.training import read_dataset
from limelight.training.duplicates import groups, hashes, pairs, thumbnail
from limelight.training.scan import scan
from tests.training.sets import noise, picture, two_classes


@pytest.fixture(scope="module")
def photos():
    return [Image.fromarray(render(seed, label, 96).image) for seed in range(6) for label in ("rice", "beans")]


def thumbnails(images):
    return np.stack([thumbnail(read(image).pixels) for image in images])


def test_the_hash_is_imagehash_s_of_the_same_thumbnail(photos):
    imagehash = pytest.importorskip("imagehash", reason="the referee is not installed")
    grey = np.round(thumbnails(photos))
    theirs = [imagehash.phash(Image.fromarray(each.astype(np.uint8))).hash.flatten() for each in grey]
    ours = np.unpackbits(hashes(grey).astype(">u8").view(np.uint8)).reshape(len(grey), 64)
    assert np.array_equal(ours.astype(bool), np.stack(theirs))


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: image.resize((61, 61)),
        lambda image: image.point(lambda value: min(255, value * 1.1)),
        lambda image: Image.fromarray(np.asarray(image) ^ 1),
    ],
    ids=["smaller", "brighter", "other last bits"],
)
def test_a_changed_copy_is_found(photos, changed):
    found = pairs(thumbnails([*photos, changed(photos[3])]))
    assert found == [(3, len(photos))]


def test_a_jpeg_of_a_png_is_found(photos, tmp_path):
    photos[0].save(tmp_path / "x.jpg", quality=50)
    assert pairs(thumbnails([photos[0], tmp_path / "x.jpg"])) == [(0, 1)]


def test_pictures_of_one_colour_are_no_copies_of_each_other():
    flat = [np.full((20, 20, 3), level, np.uint8) for level in (0, 90, 255)]
    assert pairs(thumbnails(flat)) == []


def test_more_pictures_than_are_compared_at_once(monkeypatch, photos):
    monkeypatch.setattr("limelight.training.duplicates._CHUNK", 5)
    assert pairs(thumbnails([*photos, photos[2], photos[11]])) == [(2, 12), (11, 13)]


def test_a_thumbnail_is_grey_as_luma_is():
    red = torch.zeros(3, 50, 50, dtype=torch.uint8)
    red[0] = 100
    assert thumbnail(red).mean() == pytest.approx(29.9)


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_groups_are_the_connected_parts(case):
    count, linked = case
    together = [{i} for i in range(count)]
    for _ in range(count):
        for i, j in linked:
            union = together[i] | together[j]
            for each in union:
                together[each] = union
    assert groups(count, linked) == [min(each) for each in together]


def test_a_scan_tells_the_worst_pair_first(tmp_path):
    two_classes(tmp_path, 4)
    picture(tmp_path / "dark" / "copy.png", 70, 0)
    Image.fromarray(noise(180, 3)).save(tmp_path / "dark" / "mislabelled.jpg", quality=90)
    told = scan(read_dataset(tmp_path)).told()
    assert told == [
        "dark/mislabelled.jpg and light/01.png are the same picture and bear two labels: dark and light",
        "dark/00.png and dark/copy.png are the same picture",
    ]


def test_a_scan_leaves_out_what_can_not_be_read(tmp_path):
    two_classes(tmp_path, 4)
    (tmp_path / "dark" / "01.png").write_bytes(b"half a picture")
    found = scan(read_dataset(tmp_path))
    assert len(found.dataset) == 7
    assert len(found.dataset.skipped) == 1 and "01.png" in found.dataset.skipped[0]


def test_the_fingerprint_knows_bytes_labels_and_splits(tmp_path):
    dataset = read_dataset(two_classes(tmp_path, 4))
    before = scan(dataset).fingerprint
    assert scan(dataset).fingerprint == before
    assert scan(dataset.with_splits(["train"] * 8)).fingerprint != before
    picture(tmp_path / "dark" / "01.png", 70, 99)
    assert scan(dataset).fingerprint != before
