"""`limelight explain --format`: what a shell and a program are told, and how it ends."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from limelight import models
from limelight.cli import main
from limelight.files import told
from limelight.parts import Parts
from tests.pictures import noise, write_broken
from tests.tiny import tiny

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'limelight[table]'")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return str(models.save(tiny(), tmp_path_factory.mktemp("checkpoint") / "tiny"))


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("tabby")
    folder.mkdir()
    for number in range(5):
        noise(number).save(folder / f"{number}.png")
    return folder


def explain(checkpoint: str, *args: object) -> Result:
    every = ["explain", "--model", checkpoint, "--workers", "0", "--shard", "2", *map(str, args)]
    return CliRunner().invoke(main, every)


def test_a_folder_becomes_a_table_and_a_second_run_does_nothing_again(photos, checkpoint):
    first = explain(checkpoint, photos, "--format", "parquet", "--out", "out")
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout.startswith("5 pictures, 5 maps")
    assert "right:" in first.stdout and "of 5" in first.stdout
    assert sorted(os.listdir("out")) == [
        "manifest.json", "part-00000.parquet", "part-00001.parquet", "part-00002.parquet", "pictures.jsonl",
    ]  # fmt: skip
    assert explain(checkpoint, photos, "--format", "parquet", "--out", "out").stdout == first.stdout

    other = explain(checkpoint, photos, "--format", "parquet", "--out", "out", "--top", "2")
    assert (other.exit_code, other.stdout) == (2, "")
    assert other.stderr.splitlines() == [
        "error: out holds another job (not the same: target): choose another --out, or remove it"
    ]


def test_events_are_a_line_each_and_know_what_was_done_before(photos, checkpoint):
    explain(checkpoint, photos, "--format", "parquet", "--out", "out")
    Path("out/part-00001.parquet").unlink()
    (photos / "4.png").write_text("changed since, but its part is there")

    result = explain(checkpoint, photos, "--format", "parquet", "--out", "out", "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    begin, part, end = map(json.loads, result.stdout.splitlines())
    assert begin == {"event": "begin", "pictures": 5, "done": 3, "shard": 2, "shards": 3}
    assert {name: part[name] for name in ("event", "part", "done", "pictures")} == {
        "event": "part", "part": 1, "done": 5, "pictures": 5,
    }  # fmt: skip
    assert part["rate"] > 0 and part["left"] == 0
    assert (end["event"], end["pictures"], end["errors"], end["out"]) == ("end", 5, 0, "out")


def test_a_list_is_for_many_without_being_asked_and_draws_overlays(photos, checkpoint):
    Path("list.txt").write_text("".join(f"tabby/{number}.png\n" for number in (3, 1, 9)))
    result = explain(checkpoint, "list.txt", "--out", "out")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: tabby/9.png does not exist, or is not an ordinary file: check the path"
    ]
    rows = [row for table in Parts.found("out").tables() for row in table.to_pylist()]
    assert [row["path"] for row in rows] == [f"tabby/{number}.png" for number in (3, 1, 9)]
    assert [row["overlay"] and (Path("out") / row["overlay"]).is_file() for row in rows] == [True, True, None]


def test_nothing_usable_ends_with_two(tmp_path, monkeypatch, checkpoint):
    monkeypatch.chdir(tmp_path)
    Path("bad").mkdir()
    write_broken(Path("bad"))
    result = explain(checkpoint, "bad", "--format", "parquet", "--out", "out")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 5
    assert "5 could not be used" in result.stdout


def test_what_stops_a_run_is_one_line_and_the_next_goes_on(photos, checkpoint, monkeypatch):
    """A disk that is full after the first part: that part is kept, and the program says how to go on."""
    put = Parts.put

    def refusing(self, number, table):
        with told(self.folder):
            if number == 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            put(self, number, table)

    monkeypatch.setattr(Parts, "put", refusing)
    result = explain(checkpoint, photos, "--format", "parquet", "--out", "out")
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first.startswith("error: out can't be written: the disk is full")
    assert second == "2 of 5 pictures are done and kept in out: the same command goes on"
    monkeypatch.setattr(Parts, "put", put)
    again = explain(checkpoint, photos, "--format", "parquet", "--out", "out")
    assert (again.exit_code, again.stderr) == (0, "going on: 2 of 5 pictures are done\n")


def test_a_folder_that_can_not_be_written_is_said_at_once(photos, checkpoint):
    Path("file").touch()
    result = explain(checkpoint, photos, "--format", "both", "--out", "file/out")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: file/out/pictures.jsonl can't be written: a part of the path is a file")
