"""The package: ``import limelight`` is light, and every name it promises is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import limelight as ll

HEAVY = ["torch", "timm", "torchvision", "matplotlib", "pandas", "numpy", "PIL", "rich", "jaxtyping"]


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_limelight_imports_nothing_heavy():
    assert python(f"import sys, limelight; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


def test_explaining_a_network_of_ones_own_imports_no_zoo():
    """Nor is a picture library's plotting needed."""
    code = """
import sys, warnings, torch, limelight as ll
warnings.simplefilter("ignore")
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
ll.explain(net, torch.randn(1, 3, 8, 8)).maps
print([m for m in ("timm", "torchvision", "matplotlib", "pandas") if m in sys.modules])
"""
    assert python(code) == "[]"


@pytest.mark.parametrize("name", ll.__all__)
def test_every_promised_name_is_there(name):
    assert getattr(ll, name) is not None
    assert name in dir(ll)


def test_explain_stays_a_function_after_its_room_was_imported():
    """A submodule called like a function would take its name away."""
    code = "from limelight.explainer import explain; import limelight as ll; print(ll.explain is explain)"
    assert python(code) == "True"


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        ll.explian


def test_errors_are_of_few_kinds_with_an_exit_code():
    from limelight import errors

    for kind in ("InputError", "ModelError", "LayerError", "TargetError", "MethodError"):
        assert issubclass(getattr(errors, kind), ll.LimelightError)
        assert issubclass(getattr(errors, kind), ValueError)
        assert getattr(errors, kind).exit_code == 2
    assert "pip install 'limelight[plot]'" in str(errors.MissingExtra("matplotlib", "plot", "figure()"))
    assert issubclass(errors.ZeroMapWarning, ll.LimelightWarning)


def test_the_closest_names():
    from limelight.errors import closest

    assert closest("layr4", ["layer3", "layer4", "fc"]).startswith(" Did you mean 'layer4'")
    assert closest("FC", ["layer4", "fc"]) == " Did you mean 'fc'?"
    assert closest("conv", ["blocks.0.conv_dw", "fc"]) == " Did you mean 'blocks.0.conv_dw'?"
    assert closest("zzz", ["layer4"]) == ""
