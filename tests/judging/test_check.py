"""``limelight explain --check``: the verdict in the table and in the JSON, and nothing else changed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from limelight import models
from limelight.cli import main
from tests.pictures import noise
from tests.tiny import tiny


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise(1).save("a.png")
    return ["explain", "a.png", "--model", str(models.save(tiny(), tmp_path / "tiny"))]


def told(*args: str) -> dict:
    result = CliRunner().invoke(main, [*args, "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_every_target_of_every_method_has_its_own_verdict_and_nothing_else_changes(asked):
    asked += ["--top", "2", "--method", "gradcam,layercam"]
    checked, plain = told(*asked, "--check"), told(*asked)
    targets = checked["images"][0]["targets"]
    assert len(targets) == 4
    for target in targets:
        verdict = target.pop("verdict")
        assert verdict["label"] in ("supported", "weak", "contradicted")
        assert 0 <= verdict["support"] <= 1 and verdict["sentence"].startswith(verdict["label"])
    assert checked == plain


def test_the_table_has_a_column_for_it(asked):
    plain, checked = (CliRunner().invoke(main, [*asked, "--out", "o", *more]).stdout for more in ([], ["--check"]))
    assert "verdict" not in plain.splitlines()[0]
    head, _, row, *_ = checked.splitlines()
    assert "verdict" in head
    assert any(label in row for label in ("supported", "weak", "contradicted"))
