"""What is read as a data set, and what is refused with which words."""

from __future__ import annotations

import pytest

from limelight.errors import InputError
from limelight.training import read_dataset
from tests.training.sets import two_classes


def touch(path, content=b"not looked into"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def classes(root, **counts):
    for label, count in counts.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            touch(root / label / f"{i}.jpg")
    return root


def table(root, text, name="labels.csv"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root / name


def test_class_folders(tmp_path):
    dataset = read_dataset(classes(tmp_path, rice=3, beans=4))
    assert dataset.classes == ("beans", "rice")
    assert dataset.counts() == {"beans": 4, "rice": 3}
    assert dataset.splits == [None] * 7
    assert dataset.name(dataset.items[0]) == "beans/0.jpg"


def test_hidden_files_and_other_files_are_left_out(tmp_path):
    classes(tmp_path, rice=3, beans=3)
    for name in ("rice/.DS_Store", "rice/._0.jpg", "rice/notes.txt", ".git/x.jpg"):
        touch(tmp_path / name)
    assert len(read_dataset(tmp_path)) == 6


def test_split_folders_under_any_of_their_names(tmp_path):
    for part in ("train", "valid", "test"):
        classes(tmp_path / part, rice=3, beans=3)
    touch(tmp_path / "scenes" / "x.json")
    dataset = read_dataset(tmp_path)
    assert dataset.counts("val") == {"beans": 3, "rice": 3}
    assert set(dataset.splits) == {"train", "val", "test"}
    assert "scenes" in dataset.notes[0]


def test_masks_lie_where_the_pictures_lie(tmp_path):
    classes(tmp_path, rice=3, beans=3)
    touch(tmp_path / "masks" / "rice" / "1.png")
    dataset = read_dataset(tmp_path)
    assert dataset.classes == ("beans", "rice")
    assert [dataset.name(item) for item in dataset.items if item.mask] == ["rice/1.jpg"]


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_a_table_in_any_of_its_dialects(tmp_path, between):
    classes(tmp_path, a=3, b=3)
    rows = [("file", "class", "original_split")]
    rows += [(f"{c}/{i}.jpg", c, ("training", "val", "TEST")[i]) for c in "ab" for i in range(3)]
    file = table(tmp_path, "\ufeff" + "\n".join(between.join(row) for row in rows))
    for source in (file, tmp_path):
        dataset = read_dataset(source)
        assert dataset.splits == ["train", "val", "test"] * 2
        assert dataset.classes == ("a", "b")


def test_a_split_column_of_another_name(tmp_path):
    classes(tmp_path, a=3, b=3)
    rows = "\n".join(f"{c}/{i}.jpg,{c},{('train', 'val', 'test')[i]}" for c in "ab" for i in range(3))
    file = table(tmp_path, "path,label,mine\n" + rows)
    assert read_dataset(file).splits == [None] * 6
    assert read_dataset(file, "mine").splits == ["train", "val", "test"] * 2
    with pytest.raises(InputError, match=r"no column 'theirs'; it has path, label, mine"):
        read_dataset(file, "theirs")


def test_another_list_beside_the_pictures_is_not_a_table_of_them(tmp_path):
    classes(tmp_path, a=3, b=3)
    table(tmp_path, "name,licence\nx,y\n")
    assert len(read_dataset(tmp_path)) == 6


def test_rows_whose_files_are_missing_are_left_out_and_told(tmp_path):
    classes(tmp_path, a=4, b=4)
    rows = "\n".join(f"{c}/{i}.jpg,{c}" for c in "ab" for i in range(5))
    dataset = read_dataset(table(tmp_path, "path,label\n" + rows))
    assert len(dataset) == 8
    assert dataset.skipped == (
        "labels.csv, line 6 names a/4.jpg, which does not exist",
        "labels.csv, line 11 names b/4.jpg, which does not exist",
    )


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda root: root / "nowhere", "does not exist: give a folder"),
        (lambda root: root, "no class folders"),
        (lambda root: touch(root / "0.jpg").parent, "pictures but no class folders"),
        (lambda root: classes(root, rice=9), "one class only \\('rice'\\)"),
        (lambda root: classes(root, rice=9, beans=0), "class 'beans' has no pictures: add some"),
        (lambda root: touch(classes(root, rice=9) / "beans" / "x.txt").parent.parent, "'beans' has no pictures"),
        (lambda root: classes(root, rice=2, beans=1), "class 'beans' has 1 of 3 pictures: at least 3"),
        (lambda root: table(root, "path,name\nx,y"), "needs a column 'path' and a column 'label'; it has path, name"),
        (lambda root: table(root, ""), "needs a column 'path'"),
        (lambda root: table(root, "path,label\na.jpg,"), "line 2: path and label must both be there"),
        (lambda root: table(root, "path,label\na.jpg,a\na.jpg,b"), "line 3 names a.jpg again, after line 2"),
        (lambda root: table(root, "path,label\na.jpg,a\nb.jpg,b"), "no picture that can be used: labels.csv, line 2"),
        (lambda root: touch(root / "x.csv", b"\xff\xfe\x00"), "can't be read as a table"),
    ],
)
def test_what_can_not_be_learnt_from_is_refused_in_one_line(tmp_path, made, said):
    with pytest.raises(InputError, match=said) as refused:
        read_dataset(made(tmp_path))
    assert "\n" not in str(refused.value)


def test_a_split_that_is_none_is_refused(tmp_path):
    classes(tmp_path, a=3, b=3)
    with pytest.raises(InputError, match="line 2: 'holdout' is no split: they are called train, val, test"):
        read_dataset(table(tmp_path, "path,label,split\na/0.jpg,a,holdout\n"))


def test_a_class_that_is_only_tested_is_refused(tmp_path):
    classes(tmp_path / "train", a=3)
    classes(tmp_path / "test", a=3, b=3)
    with pytest.raises(InputError, match="class 'b' has no pictures in train"):
        read_dataset(tmp_path)


def test_a_picture_elsewhere_keeps_its_whole_path(tmp_path):
    elsewhere = two_classes(tmp_path / "pictures", 3)
    rows = "\n".join(f"{path},{path.parent.name}" for path in sorted(elsewhere.glob("*/*.png")))
    dataset = read_dataset(table(tmp_path / "lists", "path,label\n" + rows))
    assert dataset.name(dataset.items[0]) == str(elsewhere / "dark" / "00.png")


def test_a_split_column_needs_a_table(tmp_path):
    (tmp_path / "rice").mkdir()
    with pytest.raises(InputError, match=r"holds no labels\.csv"):
        read_dataset(tmp_path, "split")
