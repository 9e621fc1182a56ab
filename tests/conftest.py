"""What every test stands on: one thread, known random numbers."""

from __future__ import annotations

import pytest
import torch

pytest.register_assert_rewrite("tests.networks")


@pytest.fixture(autouse=True)
def known_random_numbers():
    """A test's numbers don't depend on which tests ran before it."""
    torch.manual_seed(0)
