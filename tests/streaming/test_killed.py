"""`kill -9` and the same command again: the rows of a run that nobody disturbed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limelight import models
from limelight.parts import Parts
from limelight.streaming.job import job
from tests.pictures import noise
from tests.tiny import tiny

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'limelight[table]'")
COUNT = 120


def test_killed_again_and_again_it_ends_with_the_same_rows(model, pictures, tmp_path):
    """A forked process is killed at moments drawn at random; another one reads its pictures."""

    def work(out: Path) -> None:
        for _ in job(model, [pictures], out, shard=4, batch_size=3).run(workers=1):
            pass

    def start(out: Path) -> Any:
        process = multiprocessing.get_context("fork").Process(target=work, args=(out,))
        process.start()
        return process

    work(tmp_path / "whole")
    killed(3, tmp_path / "killed", start)
    work(tmp_path / "killed")
    same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_the_command_killed_ten_times_ends_with_the_same_rows(pictures, tmp_path):
    checkpoint = models.save(tiny(), tmp_path / "tiny")

    def start(out: Path) -> Any:
        asked = [sys.executable, "-m", "limelight", "explain", str(pictures), "--model", str(checkpoint)]
        asked += ["--format", "parquet", "--shard", "4", "--workers", "1", "--out", str(out)]
        one = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(asked, env=one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 1, "one picture could not be used"
    killed(10, tmp_path / "killed", start)
    assert start(tmp_path / "killed").wait() == 1
    same(tmp_path / "whole", tmp_path / "killed")


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        noise(number).save(folder / f"{number:02d}.png")
    (folder / "07.png").write_text("no picture")
    return folder


def killed(kills: int, out: Path, start: Callable[[Path], Any]) -> None:
    """Start a run and kill it, so often; each gets at least a part further than the one before."""
    draw = random.Random(0)

    def parts() -> int:
        return len(list(out.glob("part-*.parquet")))

    for _ in range(kills):
        before, run = parts(), start(out)
        while parts() <= before:
            assert alive(run), "it ended by itself"
            time.sleep(0.002)
        time.sleep(draw.random() * 0.02)
        os.kill(run.pid, signal.SIGKILL)
        run.wait() if isinstance(run, subprocess.Popen) else run.join()
    assert parts() < COUNT // 4, "there was something left to do"


def alive(run: Any) -> bool:
    return run.poll() is None if isinstance(run, subprocess.Popen) else run.is_alive()


def same(whole: Path, again: Path) -> None:
    one, other = (
        [row for table in Parts.found(folder).tables() for row in table.to_pylist()] for folder in (whole, again)
    )
    assert [row["picture"] for row in other] == list(range(COUNT))
    assert one == other
    assert sum(row["error"] is not None for row in other) == 1
    assert not list(again.glob(".*")), "what lay aside is gone"
