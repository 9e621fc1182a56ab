"""``kill -9`` ten times, then the end: the same weights as an undisturbed run, and no half-written file."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.sets import learnt, two_classes

MOMENTS = (3, 5, 7, 6, 8, 4, 9, 7, 5, 8)  # each gets a little further than the one before
# The process kills itself when it is about to put its n-th file in place: what it wrote aside stays lying there.
PROGRAM = """
import os, signal, sys
put, left = os.replace, int(sys.argv.pop(1))
def replace(source, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    put(source, target)
os.replace = replace
from limelight.cli import main
main()
"""


def run(out: Path, arguments: list[str], killed_at: int = -1) -> int:
    command = [sys.executable, "-c", PROGRAM, str(killed_at), "train", *arguments, "--out", str(out), "--resume"]
    return subprocess.run(command, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_the_same_weights(tmp_path):
    folder = two_classes(tmp_path / "pictures")
    learnt(tmp_path / "body.pt", "small_cnn")
    how = ["--model", "small_cnn", "--weights", str(tmp_path / "body.pt"), "--size", "16", "--views", "2"]
    how += ["--epochs", "15", "--patience", "15", "--learning-rate", "0.001"]
    arguments = [str(folder), *how]
    assert run(tmp_path / "whole", arguments) == 0

    interrupted, phases = tmp_path / "killed", set()
    for moment in MOMENTS:
        assert run(interrupted, arguments, killed_at=moment) == -signal.SIGKILL
        lying = [file.name.split(".part.")[1] for file in interrupted.rglob(".*.part.*")]
        assert len(lying) == 1, "it was killed while a file lay aside"
        phases.add(lying[0].partition("-")[0])
    assert run(interrupted, arguments) == 0

    print("killed while writing:", *sorted(phases))
    assert {"features", "epoch.pt"} <= phases
    assert {file.name for file in interrupted.rglob("*")} == {file.name for file in (tmp_path / "whole").rglob("*")}
    for name in ("model.safetensors", "predictions.parquet", "report.json", "log.csv"):
        one, other = (
            hashlib.sha256((out / name).read_bytes()).hexdigest() for out in (tmp_path / "whole", interrupted)
        )
        assert one == other, name
