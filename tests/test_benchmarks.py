"""The benchmarks run and give what they say: ratios to a plain forward. How large they are is no test's business."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("benchmarks", reason="a source distribution has no benchmarks")

from benchmarks import bench, contenders, cost, memory, tables


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_cost_is_a_ratio_for_each_contender(monkeypatch: pytest.MonkeyPatch):
    """Every contender that is installed answers the same question, and leaves no hook behind for the next."""
    monkeypatch.setattr(cost, "LEAST", 0)
    network = tiny()
    found = cost.ratios(network, torch.randn(2, 3, 16, 16), contenders.present(), rounds=1)
    assert list(found) == [name for name in contenders.present() if name != "plain"]
    assert "limelight" in found
    assert all(0 < spread.low <= spread.median <= spread.high for spread in found.values())
    assert not any(module._forward_hooks for module in network.modules())


def test_contenders_are_asked_about_the_default_layer_and_the_predicted_class():
    """Otherwise the ratios would compare different work."""
    network, images = tiny(), torch.randn(1, 3, 16, 16)
    layer, target = contenders.question(network, images)
    assert layer == "1"  # the last one with a grid
    assert target == int(network(images).argmax())


@pytest.mark.slow  # where memory is short the kernel takes pages back meanwhile, and the peak is lower: run it alone
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's peak can be set back on Linux only")
def test_memory_counts_what_a_call_holds_at_its_peak(monkeypatch: pytest.MonkeyPatch):
    """A forward whose largest tensor is known adds that much, though it is freed before the call returns."""
    width, side = 64, 256
    network = nn.Sequential(
        nn.Conv2d(3, width, 1), nn.MaxPool2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)
    )
    monkeypatch.setattr(memory, "build", lambda name: network)
    monkeypatch.setitem(memory.SIZES, "known", side)
    whole, added = memory.measure("known", "plain", batch=4)
    largest = 4 * width * side * side * 4 // 1024  # KiB
    assert largest * 0.95 < added < largest * 2
    assert whole > added


def test_table_ends_with_the_median_over_the_networks():
    rows = {str(ratio): {"limelight": tables.Spread.of([ratio, ratio])} for ratio in (1.0, 1.1, 3.0)}
    assert tables.markdown("batch 1", rows).splitlines()[-1] == "| **median** | **1.10** |"


def test_spread_is_quartiles_about_the_median():
    assert tables.Spread.of([1.0]) == (1, 1, 1)
    assert tables.Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == (2, 3, 4)


def test_results_are_written_where_asked(tmp_path: Path):
    tables.write(tmp_path / "new" / "cost.json", {"ratios": {1: {"limelight": tables.Spread.of([1.0])}}})
    assert '"limelight": [' in (tmp_path / "new" / "cost.json").read_text()


def test_a_ratio_has_become_worse_when_it_is_over_a_tenth_more_and_outside_the_old_spread():
    before = {name: tables.Spread(0.9, 1.0, 1.1) for name in ("same", "noisy", "worse", "better", "gone")}
    after = {
        "same": tables.Spread(0.95, 1.05, 1.2),
        "noisy": tables.Spread(1.0, 1.3, 1.6),
        "worse": tables.Spread(1.2, 1.3, 1.4),
        "better": tables.Spread(0.1, 0.2, 0.3),
        "new": tables.Spread(9, 9, 9),
    }
    assert bench.regressions(before, after) == ["worse: 1.00 (0.90-1.10) before, 1.30 (1.20-1.40) now"]


def test_two_result_files_are_compared_and_the_exit_code_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = [tmp_path / "before.json", tmp_path / "after.json"]
    for path, ratio in zip(files, (1.0, 2.0), strict=True):
        tables.write(path, {"ratios": {"1": {"tiny": {"onnx, map": tables.Spread.of([ratio])}}}})
    for order, code in ((files, 1), (files[::-1], 0)):
        with pytest.raises(SystemExit) as ended:
            bench.main(["--compare", *map(str, order)])
        assert ended.value.code == code
    assert "tiny, batch 1, onnx, map: 1.00 (1.00-1.00) before, 2.00" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::limelight.errors.ZeroMapWarning")
def test_what_an_explained_prediction_costs_is_one_page():
    pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'limelight[report]'")
    row, refused = bench.measured(tiny(), torch.randn(1, 3, 16, 16), ["eager"], 1, cost.CLOCKS["wall"])
    assert next(iter(row)) == "eager, map" and set(contenders.present()) - {"plain", "limelight"} <= set(row)
    refused = {"tiny, onnx": "the operation aten::x has no ONNX form"}
    facts = {"machine": {"cores": 2}, "clock": "cpu", "rounds": 1, "refused": refused}
    peaks = {"batch": 8, "rounds": 3, "added": {"tiny": {"limelight": [1.0, 1.07, 1.1], "captum": [8.0, 8.1, 8.2]}}}
    page = bench.html(bench.page({"ratios": {"1": {"tiny": row}}, **facts}, peaks))
    assert "a call of limelight takes 1.07 of what a plain forward takes" in page
    assert "Cheapest is eager" in page and "aten::x has no ONNX form" in page
