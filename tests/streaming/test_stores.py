"""Pictures and results in an object store: the same rows as here, and nothing of it assumed to stay as it was."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner

from limelight import models, stores
from limelight.cli import main
from limelight.errors import InputError
from limelight.parts import Parts
from limelight.streaming.job import job
from limelight.streaming.sources import items, many
from tests.streaming.conftest import encoded, packed
from tests.tiny import tiny

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("upath", reason="universal_pathlib is not installed: pip install 'limelight[store]'")
pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'limelight[table]'")
URL = "memory://bucket"


@pytest.fixture
def store(photos):
    """The pictures of ``photos`` in a store of this process's memory, at ``URL/photos``."""
    files = fsspec.filesystem("memory")
    files.put(str(photos), "/bucket/photos", recursive=True)
    yield files
    files.rm("/bucket", recursive=True)


def run(model, sources, out, **how):
    return list(job(model, sources, out, shard=3, batch_size=2, **how).run())


def rows(folder):
    """All that is said of each picture but where it lies."""
    found = [row for table in Parts.found(folder).tables() for row in table.to_pylist()]
    return [{**row, "path": Path(row["path"]).name, "overlay": row["overlay"]} for row in found]


def test_pictures_and_results_in_a_store_give_the_rows_of_this_machine(model, photos, store, tmp_path):
    run(model, [photos], tmp_path / "out", format="both")
    run(model, [f"{URL}/photos"], f"{URL}/out", format="both")
    assert rows(f"{URL}/out") == rows(tmp_path / "out")
    first = rows(f"{URL}/out")[0]["overlay"]
    assert store.cat(f"/bucket/out/{first}") == (tmp_path / "out" / first).read_bytes()


def test_what_lies_in_the_store_is_not_done_again(model, store):
    """Another process may have written parts since the folder was looked at."""
    ready = job(model, [f"{URL}/photos"], f"{URL}/out", shard=3)
    assert ready.left == [0, 1, 2]
    next(ready.run())
    again = job(model, [f"{URL}/photos"], f"{URL}/out", shard=3)
    assert again.left == [1, 2]
    list(pickle.loads(pickle.dumps(again)).run(shards=[1]))
    assert ready.left == [2]


@pytest.mark.parametrize("source", ["photos", "photos/**/*.png", "pictures.csv", "pictures.tar", "photos/note/0.png"])
def test_every_form_of_source(source, photos, store, tmp_path):
    inside = {f"note/{i}.png": encoded(i) for i in range(3)}
    store.put(str(packed(tmp_path / "pictures.tar", inside)), "/bucket/pictures.tar")
    names = sorted(store.find("/bucket/photos"))
    relative, elsewhere = names[0].removeprefix("/bucket/"), f"{URL}{names[1].removeprefix('/bucket')}"
    store.pipe("/bucket/pictures.csv", f"file,label\n{relative},one\n{elsewhere},two\n".encode())
    store.pipe("/bucket/photos/note/0.png", inside["note/0.png"])
    store.pipe("/bucket/photos/note/.hidden.png", b"not looked at")
    asked = f"{URL}/{source}"
    assert many(asked)
    found = list(items([asked]))
    assert found
    assert all(item.read().pixels.shape[0] == 3 for item in found)
    expected = {"photos": "note", "pictures.csv": "two", "pictures.tar": "note"}.get(source, found[-1].label)
    assert expected in [item.label for item in found]
    if source == "photos":
        assert len(found) == 8


def test_a_tar_that_is_cut_short_says_so(store, tmp_path):
    whole = packed(tmp_path / "a.tar", {"a/1.png": encoded(1), "a/2.png": encoded(2)}).read_bytes()
    store.pipe("/bucket/a.tar", whole[: len(whole) // 4])
    *_, last = items([f"{URL}/a.tar"])
    with pytest.raises(InputError, match="cut short"):
        last.read()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("memory://bucket/nothing", "does not exist"),
        ("nosuch://bucket/photos", "nosuch"),
        ("memory://bucket/photos/**/*.txt", "holds no pictures"),
    ],
)
def test_what_is_not_there_is_one_line(source, words, store, model, tmp_path):
    with pytest.raises(InputError, match=words) as told:
        job(model, [source], tmp_path / "out")
    assert "\n" not in str(told.value)


def test_a_store_that_fails_is_one_line_and_what_was_done_stays(model, store, monkeypatch):
    ready = job(model, [f"{URL}/photos"], f"{URL}/out", shard=3)
    running = ready.run()
    next(running)

    def refuse(*_, **__):
        raise RuntimeError("quota exceeded\nfor this bucket")

    monkeypatch.setattr(type(store), "put_file", refuse)
    with pytest.raises(InputError, match=r"part-00001\.parquet can't be written: quota exceeded for this bucket"):
        list(running)
    assert len(ready.left) == 2


def test_the_commands_take_urls(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = str(models.save(tiny(), tmp_path / "tiny"))
    asked = ["explain", f"{URL}/photos", "--model", checkpoint, "--format", "parquet", "--workers", "0"]
    for command in ([*asked, "--out", f"{URL}/out"], ["gallery", f"{URL}/out"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    assert "<html" in stores.path_of(f"{URL}/out/gallery.html").read_text()
    assert not list(tmp_path.glob("memory:*")), "nothing was written here"
