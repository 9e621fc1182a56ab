"""Every form of source gives the same pictures, in an order that is always the same, and says what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.errors import InputError
from limelight.streaming.listing import listed
from limelight.streaming.sources import Item, items, many
from tests.streaming.conftest import encoded, packed


def names(found) -> list[str]:
    return [Path(item.path).name for item in found]


def test_a_folder_is_searched_to_the_bottom_and_names_the_classes(photos):
    (photos / "tabby" / ".hidden.png").write_bytes(b"")
    (photos / "notes.txt").write_text("no picture")
    os.symlink(photos, photos / "tabby" / "back")
    found = list(items([photos]))
    assert names(found) == ["4.png", "5.png", "6.png", "0.png", "1.png", "2.png", "3.png"]
    assert [item.label for item in found] == ["espresso"] * 3 + ["tabby"] * 4


def test_the_folder_of_the_results_is_no_source(photos):
    (photos / "maps").mkdir()
    (photos / "maps" / "0_tabby.png").write_bytes(encoded(0))
    assert len(list(items([photos], but=photos / "maps"))) == 7


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "# two cats\nphotos/tabby/0.png\ttabby\nphotos/tabby/gone.png\ttabby\n"),
        ("list.csv", "file,label\nphotos/tabby/0.png,tabby\nphotos/tabby/gone.png,tabby\n"),
        (
            "list.jsonl",
            '{"path": "photos/tabby/0.png", "label": "tabby"}\n\n{"file": "photos/tabby/gone.png", "class": "tabby"}\n',
        ),
    ],
)
def test_a_list_names_pictures_beside_it_and_their_labels(photos, name, text):
    """A missing file is that picture's trouble, when it is read, not the list's."""
    (photos.parent / name).write_text(text)
    first, second = items([photos.parent / name])
    assert first == Item(str(photos.parent / "photos/tabby/0.png"), "tabby")
    assert first.read().size == (96, 72)
    with pytest.raises(InputError, match="does not exist"):
        second.read()


def test_a_tar_is_read_from_the_middle_with_webdatasets_labels(tmp_path):
    content = {"a/0001.png": encoded(1), "a/0001.cls": b"3\n", "a/0002.json": b"{}", "a/0002.png": encoded(2)}
    found = list(items([packed(tmp_path / "shard.tar", content)]))
    assert names(found) == ["0001.png", "0002.png"]
    assert [item.label for item in found] == ["3", "a"]
    assert found[1].read().pil().tobytes() != found[0].read().pil().tobytes()
    assert found[0].read().size == (96, 72)


@settings(max_examples=60, deadline=None)
@given(kept=st.integers(0, 40_000))
def test_a_tar_that_is_cut_anywhere_gives_what_it_holds_and_says_so(kept, tmp_path_factory):
    """Pictures before the cut are whole; whoever meets the cut says that the tar is cut short; nothing else happens."""
    folder = tmp_path_factory.mktemp("tar")
    whole = packed(folder / "whole.tar", {f"{number}.png": encoded(number) for number in range(3)})
    (folder / "cut.tar").write_bytes(whole.read_bytes()[:kept])
    good, said = 0, ""
    try:
        for item in items([folder / "cut.tar"]):
            try:
                item.read()
                good += 1
            except InputError as error:
                said = str(error)
    except InputError as error:
        said = str(error)
    every = list(items([whole]))
    held = sum(item.start + item.size <= kept for item in every)
    assert good == held
    ends = -(-(every[-1].start + every[-1].size) // 512) * 512 + 512
    assert (said == "") == (kept >= ends), (kept, said)
    assert not said or "cut short" in said or kept <= 512, said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.tar", None, "does not exist"),
        ("gone.csv", None, "does not exist"),
        ("a.tar", b"no archive at all, but long enough to hold a header" * 20, "no tar"),
        ("a.tar.gz", b"", "unpack it"),
        ("a.txt", b"# nothing\n", "no pictures"),
        ("a.csv", b"name\ncat.jpg\n", "line 2 of .* names no picture"),
        ("a.jsonl", b"cat.jpg\n", "line 1 of .* no JSON object"),
        ("a.txt", b"\xff\xfe\x00\x00", "can't be read as a list"),
    ],
)
def test_what_is_no_source_is_said_in_one_line(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert many(tmp_path / name)
    with pytest.raises(InputError, match=words) as caught:
        list(items([tmp_path / name]))
    assert "\n" not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 23), shard=st.integers(1, 9))
def test_a_listing_gives_every_picture_once(count, shard, tmp_path_factory):
    """Whatever the shards, and whether an item is a file or lies in a tar."""
    every = [Item(f"{n}.png", None if n % 2 else "ü\n", *(("a.tar", n, 5) if n % 3 else ())) for n in range(count)]
    listing = listed(iter(every), tmp_path_factory.mktemp("list") / "pictures.jsonl", shard)
    assert listing.count == count
    found = [item for number in range(listing.shards) for item in listing.items(number, 0, listing.size(number))]
    assert found == every
    assert listing.items(listing.shards - 1, 0, 1) == [every[(listing.shards - 1) * shard]]
