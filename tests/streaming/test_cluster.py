"""Two Ray workers on this machine, workers killed twice and the driver once: the rows of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limelight import models
from limelight.errors import InputError
from limelight.parts import Parts
from limelight.streaming.job import job
from tests.pictures import noise
from tests.tiny import tiny

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'limelight[table]'")
COUNT, SHARD = 240, 4


def test_an_engine_is_refused_before_a_cluster_is_started(model, photos, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'limelight[ray]'")
    from limelight.streaming.cluster import run_on_ray

    ready = job(model, [photos], tmp_path / "out", engine=lambda images: images)
    with pytest.raises(InputError, match="an engine can't be sent"):
        next(run_on_ray(ready, "local", 2))


@pytest.mark.slow
def test_workers_and_the_driver_are_killed_and_each_picture_is_there_once(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'limelight[ray]'")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(COUNT):
        noise(number).save(photos / f"{number:03d}.png")
    (photos / "007.png").write_text("no picture")
    checkpoint = models.save(tiny(), tmp_path / "tiny")
    for _ in job(models.load(checkpoint), [photos], tmp_path / "whole", shard=SHARD).run():
        pass
    out = tmp_path / "out"

    def start() -> subprocess.Popen[bytes]:
        asked = [
            sys.executable,
            "-m",
            "limelight",
            "explain",
            str(photos),
            "--model",
            str(checkpoint),
            "--out",
            str(out),
        ]
        asked += ["--format", "parquet", "--shard", str(SHARD), "--workers", "2", "--ray", "local"]
        return subprocess.Popen(asked, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)

    driver = start()
    for wanted in (2, 6):  # a worker, when so many parts are there
        wait(out, wanted, driver)
        os.kill(worker_of(driver.pid), signal.SIGKILL)
    wait(out, 10, driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert len(parts(out)) < COUNT // SHARD, "there was something left to do"
    time.sleep(3)  # Ray ends its processes when their driver is gone
    assert start().wait() == 1, "one picture could not be used"

    one, other = (
        [row for table in Parts.found(f).tables() for row in table.to_pylist()] for f in (tmp_path / "whole", out)
    )
    assert [row["picture"] for row in other] == list(range(COUNT))
    assert one == other


def parts(out: Path) -> list[Path]:
    return list(out.glob("part-*.parquet"))


def wait(out: Path, count: int, driver: subprocess.Popen[bytes]) -> None:
    while len(parts(out)) < count:
        assert driver.poll() is None, "it ended too soon"
        time.sleep(0.01)


def worker_of(driver: int) -> int:
    """The process of an actor: Ray calls them ``ray::Worker``."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")[0]
            except OSError:
                continue
            if words.startswith(b"ray::Worker") and below(int(entry.name), driver):
                return int(entry.name)
    raise AssertionError("no actor is running")


def below(process: int, other: int) -> bool:
    """Whether a process descends from another."""
    while process > 1:
        if process == other:
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False
