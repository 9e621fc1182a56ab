"""One small run for all the tests of studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from limelight.models import load
from limelight.studies.looks import Looks, Sample, look
from limelight.studies.study import tested
from limelight.training import read_run
from tests.studies.small import small_run

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'limelight[train]'")


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A finished run's folder."""
    return small_run(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def model(run):
    return load(run)


@pytest.fixture(scope="session")
def sample(run) -> Sample:
    return tested(read_run(run))


@pytest.fixture(scope="session")
def looks(model, sample) -> Looks:
    return look(model, sample)
