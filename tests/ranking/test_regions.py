"""Boxes and masks as others write them down are read alike, and what is wrong with them is said in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from limelight.errors import InputError
from limelight.models.classes import class_of, spellings
from limelight.ranking.regions import Region, read
from limelight.ranking.runs import Runs

BOX = (4.0, 6.0, 14.0, 20.0)


@pytest.fixture
def written(tmp_path):
    """The same box of a.jpg, in every form there is."""
    (tmp_path / "coco.json").write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "train/a.jpg"}],
                "categories": [{"id": 3, "name": "dog"}],
                "annotations": [{"image_id": 7, "category_id": 3, "bbox": [4, 6, 10, 14]}],
            }
        )
    )
    (tmp_path / "corners.csv").write_text("file,label,xmin,ymin,xmax,ymax\nx/a.jpg,dog,4,6,14,20\n")
    (tmp_path / "boxes.csv").write_text("file,label,boxes\na.jpg,dog,4 6 14 20\n")
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc" / "a.xml").write_text(
        "<annotation><filename>a</filename><object><name>dog</name><bndbox>"
        "<xmin>5</xmin><ymin>7</ymin><xmax>14</xmax><ymax>20</ymax></bndbox></object></annotation>"
    )
    return tmp_path


@pytest.mark.parametrize("form", ["coco.json", "corners.csv", "boxes.csv", "voc", "voc/a.xml"])
def test_every_form_gives_the_same_region(written, form):
    (region,) = read(written / form)["a"]
    assert (region.names, region.box) == (("dog",), BOX)
    pixels = region.pixels((30, 24), "a.jpg")
    assert pixels.shape == (24, 30) and pixels.sum() == 10 * 14 and pixels[6:20, 4:14].all()


def test_masks_and_outlines_are_regions_too(tmp_path):
    drawn = Image.new("L", (30, 24))
    drawn.paste(200, (4, 6, 14, 20))
    (tmp_path / "masks").mkdir()
    drawn.save(tmp_path / "masks" / "a.png")
    (mask,) = read(tmp_path / "masks")["a"]
    outline = Region(outline=((4, 6, 13, 6, 13, 19, 4, 19),))
    assert torch.equal(mask.pixels((30, 24), "a.jpg"), outline.pixels((30, 24), "a.jpg"))
    with pytest.raises(InputError, match=r"is 30 x 24 pixels, its picture 64 x 48"):
        mask.pixels((64, 48), "a.jpg")


def coco(tmp_path, segmentation):
    """A COCO file of one object, outlined like this and with a box that is wrong on purpose."""
    file = tmp_path / "runs.json"
    thing = {"image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1], "iscrowd": 1, "segmentation": segmentation}
    images, categories = [{"id": 7, "file_name": "a.jpg"}], [{"id": 3, "name": "dog"}]
    file.write_text(json.dumps({"images": images, "categories": categories, "annotations": [thing]}))
    return file


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)))
def test_compressed_runs_are_what_pycocotools_wrote(mask):
    peer = pytest.importorskip("pycocotools.mask")
    written = peer.encode(np.asfortranarray(mask))
    for counts in (written["counts"], written["counts"].decode()):
        found = Runs.of({"size": written["size"], "counts": counts}, "x.json").pixels()
        assert np.array_equal(found.numpy(), mask.astype(bool))


def test_long_runs_are_unpacked_too():
    """A number of several characters, and differences that are negative."""
    peer = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((700, 900), np.uint8, order="F")
    mask[100:650, 30:800] = 1
    mask[5, 700:] = 1
    assert np.array_equal(Runs.of(peer.encode(mask), "x.json").pixels().numpy(), mask.astype(bool))


def test_runs_are_the_object_and_not_its_box(tmp_path):
    """Two columns of three pixels: off 1, on 2, off 2, on 1, down the columns."""
    (region,) = read(coco(tmp_path, {"size": [3, 2], "counts": [1, 2, 2, 1]}))["a"]
    assert region.pixels((2, 3), "a.jpg").tolist() == [[False, False], [True, False], [True, True]]
    with pytest.raises(InputError, match=r"run-length mask of a\.jpg is 2 x 3 pixels, its picture 3 x 2"):
        region.pixels((3, 2), "a.jpg")


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ({"size": [3, 2], "counts": [1, 2]}, "of 2 x 3 pixels has runs for 3"),
        ({"size": [3, 2], "counts": [9, -3]}, "of 2 x 3 pixels has runs for 6"),
        ({"size": [3, 2], "counts": ""}, "has runs for 0"),
        ({"size": [3, 2], "counts": "é"}, "is no character of one"),
        ({"size": [3, 2], "counts": "V"}, "it is cut off"),
        ({"size": 3, "counts": [6]}, "not iterable"),
        ({"counts": [6]}, "'size'"),
    ],
)
def test_damaged_runs_are_told_with_their_file(tmp_path, segmentation, said):
    with pytest.raises(InputError, match=rf"runs\.json: a run-length mask .*{said}"):
        read(coco(tmp_path, segmentation))


@pytest.mark.parametrize("box", [(4, 6, 40, 20), (-9, 0, 5, 5), (5, 5, 5, 9), (29, 3, 31.9, 9)])
def test_a_box_outside_its_picture_is_told(box):
    with pytest.raises(InputError, match=r"of a\.jpg is empty or lies outside its picture of 30 x 24 pixels"):
        Region(box=box).pixels((30, 24), "a.jpg")


def test_a_box_that_counts_from_one_is_cut():
    assert Region(box=(-1, 0, 31, 24)).placed((30, 24), "a.jpg") == (0, 0, 30, 24)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "can't be read as JSON"),
        ("a.json", "[]", "no COCO file"),
        ("a.json", '{"images": [], "categories": [], "annotations": []}', "no box and no mask"),
        ("a.csv", "name,x\nq,1\n", "needs a column file"),
        ("a.csv", "file,boxes\na.jpg,1 2 3\n", "four numbers"),
        ("a.csv", "file,boxes\na.jpg,1 2 3 x\n", "'x' is no number"),
        ("a.xml", "<annotation", "can't be read as XML"),
        ("a.txt", "", "no annotation that is read here"),
    ],
)
def test_what_is_no_annotation_is_told(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        read(tmp_path / name)


def test_a_class_goes_by_its_label_its_number_and_its_wordnet_id():
    known = spellings(("tabby", "2024", "crane", "crane"), 4)
    assert class_of(["Tabby"], known) == 0 and class_of(["3"], known) == 3 and class_of(["2024"], known) == 1
    assert class_of(["crane"], known) is None, "two classes are called so"
    assert class_of(["nothing", "1"], known) == 1
    assert class_of(["n02123045"], spellings(None, 1000)) == 281
