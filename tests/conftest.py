"""What every test stands on: one thread, known random numbers, the same examples each time."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))  # "default": other examples each time, to explore
pytest.register_assert_rewrite("tests.networks")


@pytest.fixture(autouse=True)
def known_random_numbers():
    """A test's numbers don't depend on which tests ran before it."""
    torch.manual_seed(0)
