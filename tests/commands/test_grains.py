"""``limelight grains`` as a stranger meets it."""

from __future__ import annotations

from click.testing import CliRunner

from limelight.cli import main
from limelight.training import read_dataset


def limelight(*args: object):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_it_writes_a_data_set_that_train_reads(tmp_path):
    out = tmp_path / "set"
    result = limelight("grains", out, "--n", 20, "--size", 32, "--shortcut", "watermark:1:beans", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    assert "20 pictures and their masks" in result.stdout
    dataset = read_dataset(out)
    assert dataset.counts("train") == {"beans": 7, "rice": 7}
    assert all(item.mask.is_file() for item in dataset.items)
    marked = {path.parent.name for path in (out / "shortcuts" / "train").glob("*/*.png")}
    assert marked == {"beans"}


def test_the_same_command_again_changes_nothing_and_another_is_refused(tmp_path):
    how = ("--n", 2, "--size", 32, "--workers", 1)
    for _ in range(2):
        assert limelight("grains", tmp_path / "set", *how).exit_code == 0
    refused = limelight("grains", tmp_path / "set", *how, "--seed", 1)
    assert refused.exit_code == 2 and "holds another set of grains" in refused.stderr


def test_a_misspelt_shortcut_is_one_line(tmp_path):
    result = limelight("grains", tmp_path / "set", "--shortcut", "watermak:0.9")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1 and "watermark" in result.stderr
