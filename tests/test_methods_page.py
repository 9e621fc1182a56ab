"""The page of methods says what the registry says."""

from __future__ import annotations

import re

import pytest

from limelight.methods import REGISTRY
from scripts.methods_table import END, PAGE, START, summary, updated


def test_the_page_is_up_to_date():
    page = PAGE.read_text()
    assert START in page
    assert END in page
    assert page == updated(page), "run python -m scripts.methods_table"


@pytest.mark.parametrize("method", REGISTRY.values(), ids=lambda method: method.name)
def test_a_method_is_described_in_a_sentence_of_plain_text(method):
    """Of Markdown, not of Sphinx, and without a source, for which there is a column."""
    said = summary(method)
    assert said[:1].isupper() or said[:1] == "`"
    assert said.endswith(".")
    assert not re.search(r":\w+:|\(\)|``", said)


def test_the_guide_names_methods_that_there_are():
    """What stands in backticks in a row of the guide, where it is a name at all."""
    guide = PAGE.read_text().partition(START)[0]
    named = {name for row in re.findall(r"^\|.*\|$", guide, re.MULTILINE) for name in re.findall(r"`([a-z0-9]+)`", row)}
    assert named
    assert named <= set(REGISTRY)
