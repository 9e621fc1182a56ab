"""Data sets are found as they are unpacked, and what is on a picture is told in the network's own classes."""

from __future__ import annotations

import csv

import pytest

from limelight.errors import InputError
from limelight.models import load
from limelight.paper.layouts import VOC_CLASSES, found
from limelight.paper.shown import gathered
from tests.paper.world import annotate, colours, draw, voc

LEFT, RIGHT = (0, 16, 24, 40), (40, 16, 64, 40)


def test_a_voc_year_is_found_with_its_lists(tmp_path):
    voc(tmp_path / "VOC2007", {"a": {"red": LEFT}, "b": {"green": RIGHT}})
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("b\n")
    (lists / "red_val.txt").write_text("b 1\n")
    for data in (tmp_path, tmp_path / "VOC2007"):
        layout = found(data)
        assert layout.name == "Pascal VOC2007" and layout.boxes == tmp_path / "VOC2007" / "Annotations"
        assert [one.path.stem for one in gathered(colours(), layout)] == ["a", "b"]
    (only,) = gathered(colours(), found(tmp_path, split="val"))
    assert only.path.stem == "b" and only.answer == {1}
    assert only.things[0].regions[0].box == RIGHT
    with pytest.raises(InputError, match=r"there is no list .*test\.txt; there are val$"):
        found(tmp_path, split="test")
    voc(tmp_path / "VOC2012", {"c": {"red": LEFT}})
    with pytest.raises(InputError, match="holds VOC2007, VOC2012: give one of them"):
        found(tmp_path)


def test_imagenet_is_found_as_its_challenge_unpacks_and_boxes_beside_the_pictures_are_too(tmp_path):
    draw(tmp_path / "Data" / "CLS-LOC" / "val" / "x.png", {"red": LEFT})
    annotate(tmp_path / "Annotations" / "CLS-LOC" / "val" / "x.xml", {"red": LEFT})
    (one,) = gathered(colours(), found(tmp_path))
    assert one.answer == {0}, "the box's name says what the picture is of: no folder does"
    beside = tmp_path / "beside"
    draw(beside / "y.png", {"blue": RIGHT})
    annotate(beside / "y.xml", {"blue": RIGHT})
    (one,) = gathered(colours(), found(beside))
    assert one.answer == {2}
    with pytest.raises(InputError, match="there are no pictures at"):
        found(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is no VOC year"):
        found(beside, split="val")


def test_a_csv_with_boxes_tells_the_true_class_too(tmp_path):
    draw(tmp_path / "a.png", {"red": LEFT})
    table = tmp_path / "boxes.csv"
    table.write_text("file,label,boxes\na.png,red,0 16 24 40;40 16 64 40\n")
    (one,) = gathered(colours(), found(table))
    assert one.answer == {0} and [region.box for region in one.things[0].regions] == [LEFT, RIGHT]


def test_class_folders_name_what_boxes_do_not(tmp_path):
    """ImageNet with a folder a class, and boxes that carry no class."""
    draw(tmp_path / "val" / "green" / "a.png", {"green": LEFT})
    (tmp_path / "boxes.csv").write_text("file,boxes\na.png,0 16 24 40\n")
    (one,) = gathered(colours(), found(tmp_path / "val", tmp_path / "boxes.csv"))
    assert one.answer == {1} and one.things[0].classes == {1}


def test_a_picture_of_several_things_has_no_single_answer_and_what_is_unknown_is_left_out(tmp_path):
    folder = voc(
        tmp_path / "VOC2007",
        {"a": {"red": LEFT, "green": RIGHT}, "b": {"red": LEFT}},
        {"b": {"red": LEFT, "person": RIGHT}},
    )
    both, one = gathered(colours(), found(folder))
    assert both.answer == frozenset() and [thing.classes for thing in both.things] == [{0}, {1}]
    assert one.answer == frozenset() and [thing.classes for thing in one.things] == [{0}], "a person is there as well"


def test_annotated_classes_may_be_several_of_the_networks(tmp_path):
    folder = voc(tmp_path / "VOC2007", {"a": {"red": LEFT}}, {"a": {"warm": LEFT}})
    with pytest.raises(InputError, match="annotated as warm; say what these are with --classes"):
        gathered(colours(), found(folder))
    table = tmp_path / "classes.csv"
    table.write_text("name,classes\nWarm,0-1\n")
    (one,) = gathered(colours(), found(folder), table)
    assert one.answer == {0, 1}
    for content, said in {
        "a,b\n1,2\n": "needs the columns name and classes",
        "name,classes\nwarm,beige\n": "'beige' is no class of the network",
        "name,classes\nwarm,0-9\n": "class 9 of a network that has 3",
    }.items():
        table.write_text(content)
        with pytest.raises(InputError, match=said):
            gathered(colours(), found(folder), table)


def test_the_same_pictures_are_drawn_by_the_same_seed(tmp_path):
    folder = voc(tmp_path / "VOC2007", {str(number): {"red": LEFT} for number in range(9)})
    drawn = [[one.path.stem for one in gathered(colours(), found(folder), most=4, seed=s)] for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 4


def test_the_table_of_voc_names_what_imagenet_calls_so():
    labels = load("torchvision/squeezenet1_1", weights="random").labels
    assert labels is not None
    with VOC_CLASSES.open(newline="") as lines:
        table = {row["name"]: row["classes"] for row in csv.DictReader(lines)}
    assert len(table) == 19, "ImageNet has no person"
    said = {name: [labels[int(end)] for end in classes.replace("-", " ").split()] for name, classes in table.items()}
    assert said["cat"] == ["tabby", "Egyptian cat"] and said["dog"] == ["Chihuahua", "Mexican hairless"]
    assert said["bird"] == ["cock", "great grey owl", "black grouse", "black swan", "white stork", "albatross"]
    assert said["sheep"] == ["ram", "bighorn"] and said["sofa"] == ["studio couch"]
    assert said["train"] == ["bullet train", "electric locomotive", "steam locomotive"]
    assert said["tvmonitor"] == ["monitor", "screen", "television"]
