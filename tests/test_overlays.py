"""Overlays as files: each has a name of its own, is whole or not there, and is never taken for a photograph."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from limelight.errors import InputError
from limelight.overlays import Overlays, slug, unique_stems


class Drawn:
    """As much of an explanation as is written: a picture for each target, told apart by its colour."""

    def overlay(self, target: int, **look) -> Image.Image:
        return Image.new("RGB", (4, 3), (target, 0, 0))


def record(*targets: tuple[int | None, str]) -> dict:
    return {"targets": [{"index": index, "label": label, "overlay": None} for index, label in targets]}


parts = st.sampled_from(["a", "b", "a-2", "a.png", "c d"])


@given(
    st.lists(
        st.builds(
            lambda folder, name, end: Path(folder, name + end), parts, parts, st.sampled_from(["", ".png", ".jpg"])
        ),
        max_size=12,
    )
)
def test_no_two_stems_are_alike(paths):
    """Also when a name looks like one that was made up for another."""
    stems = unique_stems(paths)
    assert len(set(stems)) == len(paths)
    assert not any("/" in stem for stem in stems)


def test_a_stem_is_the_files_own_where_it_can_be():
    assert unique_stems([Path("x/cat.jpg"), Path("x/cat.png"), Path("y/cat.jpg")]) == ["cat", "cat.png", "cat.jpg"]


@pytest.mark.parametrize(
    ("label", "name"),
    [("Egyptian cat", "egyptian-cat"), ("../../etc/passwd", "etc-passwd"), ("", "map"), (None, "map"), ("猫", "猫")],
)
def test_a_label_becomes_a_harmless_part_of_a_name(label, name):
    """Labels come from files of others: they must not choose the folder."""
    assert slug(label) == name


@pytest.mark.parametrize(
    "targets",
    [
        [(134, "crane"), (517, "crane")],
        [(281, "tabby"), (281, "tabby")],
        [(None, "score"), (None, "score"), (None, "score")],
        [(3, "a"), (3, "a"), (7, "a-3")],
    ],
    ids=["two classes of one name", "one class twice", "callables", "a label that looks made up"],
)
def test_each_target_has_its_own_file(tmp_path, targets):
    """ImageNet has two classes called "crane", and every lambda is called "score"."""
    told = record(*targets)
    Overlays(tmp_path).write(Drawn(), told, "photo")

    files = [Path(target["overlay"]) for target in told["targets"]]
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert [Image.open(file).getpixel((0, 0))[0] for file in files] == list(range(len(targets)))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_picture_is_whole_or_not_there(tmp_path, monkeypatch, error):
    """A full disk or an interrupt leaves the file that was there before, and nothing beside it."""
    overlays = Overlays(tmp_path)
    overlays.put(tmp_path / "map.png", b"before")
    write_bytes = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        write_bytes(path, content[:1])
        raise error

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        overlays.put(tmp_path / "map.png", b"after")

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"map.png": b"before"}


def test_preparing_leaves_an_empty_folder(tmp_path):
    """The trial that a folder can be written is not found in it."""
    overlays = Overlays(tmp_path / "deep" / "maps")
    overlays.prepare()
    assert list(overlays.folder.iterdir()) == []


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "maps").touch()
    for folder in (tmp_path / "maps", tmp_path / "maps" / "below"):
        with pytest.raises(InputError, match=r"cannot write to .*maps"):
            Overlays(folder).prepare()


def test_earlier_overlays_are_left_out_only_of_what_a_search_found(tmp_path):
    """A folder that holds the overlays' folder would give them as photographs; a file named outright is meant."""
    overlays = Overlays(tmp_path / "photos" / "maps")
    photo, overlay = tmp_path / "photos" / "a.jpg", tmp_path / "photos" / "maps" / "a_cat.png"

    assert overlays.others([photo, overlay], [tmp_path / "photos"]) == [photo]
    assert overlays.others([overlay], [overlay]) == [overlay]
    assert Overlays(tmp_path / "photos").others([photo], [tmp_path / "photos"]) == [
        photo
    ]  # written beside the photographs
    with pytest.raises(InputError, match="no pictures but"):
        overlays.others([overlay], [tmp_path / "photos"])
