"""A run that is killed, again and again, ends with the table of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from limelight import models
from limelight.ranking.store import Store
from tests.pictures import noise
from tests.tiny import tiny

KILLS = 10


@pytest.mark.slow
def test_ten_times_killed_is_the_same_table(tmp_path):
    """`kill -9` at moments drawn at random while parts are being written: no row twice, none missing."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(24):
        noise(number).save(photos / f"{number}.png")
    checkpoint = models.save(tiny(), tmp_path / "tiny")

    def start(out: str) -> subprocess.Popen[bytes]:
        asked = [sys.executable, "-m", "limelight", "evaluate", "--model", str(checkpoint), "--data", str(photos)]
        asked += ["--methods", "gradcam,layercam", "--metrics", "average_drop,sparseness", "--shard", "1"]
        asked += ["--out", str(tmp_path / out)]
        one = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(asked, env=one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def parts(out: str) -> int:
        return len(list((tmp_path / out).glob("part-*.parquet"))) if (tmp_path / out).is_dir() else 0

    assert start("whole").wait() == 0
    draw, killed = random.Random(0), 0
    while killed < KILLS:
        before, run = parts("killed"), start("killed")
        while parts("killed") < min(before + 1 + draw.randrange(2), 23) and run.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.random() * 0.05)
        if run.poll() is None:
            os.kill(run.pid, signal.SIGKILL)
            killed += 1
        run.wait()
    assert start("killed").wait() == 0
    manifest = json.loads((tmp_path / "whole" / "manifest.json").read_text())
    whole, again = (Store(tmp_path / out, manifest).rows() for out in ("whole", "killed"))
    keys = [(row["picture"], row["method"], row["metric"]) for row in again]
    assert len(keys) == len(set(keys))
    assert [row | {"seconds": 0} for row in again] == [row | {"seconds": 0} for row in whole]
