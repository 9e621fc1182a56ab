"""checkup/: each planted fault is found and told with a remedy, and nothing is found in networks that are well."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn
from torch.nn import functional as F

import limelight as ll
from limelight.checkup import CHECKS, Finding
from limelight.cli import main
from limelight.errors import LayerError, ModelError
from tests.checkup.trained import MADE, SIDE, pictures, trained

SHOWN = pictures(6, seed=999)[0]


def well() -> nn.Sequential:
    return copy.deepcopy(trained("plain"))  # type: ignore[return-value]


# ---- nothing to find


@pytest.mark.parametrize("name", MADE)
def test_a_network_that_is_well(name):
    network = trained(name)
    x, y = pictures(60, seed=1000)
    scores = network(x)
    right = (scores.argmax(1) == y) if scores.shape[1] > 1 else ((scores[:, 0] > 0) == (y == 0))
    assert float(right.float().mean()) > 0.9, "it must have learnt something to be well"
    assert list(ll.doctor(network, x[:6])) == []
    assert list(ll.doctor(network, x[:1])) == []


def test_without_pictures_they_are_made_up():
    found = ll.doctor(ll.load(trained("plain"), preprocessing=ll.Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.5,) * 3)))
    assert found.pictures == 0 and list(found) == [] and str(found) == f"Nothing found by {len(CHECKS)} checks."


# ---- planted faults


class Wrapped(nn.Module):
    """A network with something after it, or before."""

    def __init__(self, network, after=lambda scores: scores, before=lambda x: x):
        super().__init__()
        self.network, self.after, self.before = network, after, before

    def forward(self, x):
        return self.after(self.network(self.before(x)))


class Inside(nn.Module):
    """The plain network with something done to the features."""

    def __init__(self, change):
        super().__init__()
        network = well()
        self.features, self.head, self.change = network[:6], network[6:], change

    def forward(self, x):
        return self.head(self.change(self.features(x)))


def with_weights(change) -> nn.Module:
    network = well()
    with torch.no_grad():
        change(network)
    return network


def nan_weight(network):
    network[3].weight[0, 0, 0, 0] = torch.nan


def fresh_statistics(network):
    for norm in (network[1], network[4]):
        norm.reset_running_stats()


def no_statistics(network):
    for norm in (network[1], network[4]):
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None


def zero_head(network):
    network[9].weight.zero_()


def dead_relus(network):
    network[4].bias.fill_(-100.0)


def even_head(network):
    network[9].weight.mul_(1e-4)
    network[9].bias.zero_()


def indifferent_head(network):
    network[9].weight.copy_(network[9].weight[:1].abs() * torch.tensor([[1.0], [1.01], [1.02]]))


def sure_head(network):
    network[9].weight.mul_(1e5)
    network[9].bias.mul_(1e5)


def left_behind():
    network = well()
    network[3].register_forward_hook(lambda module, given, gave: None)
    return network


def carded():
    network = well()
    network.pretrained_cfg = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # type: ignore[assignment]
    return network


class Padded(nn.Module):
    """Sees where it pads: its first layer pads with zeros what has a large bias."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.edge = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.fc = nn.Linear(4, 2)
        with torch.no_grad():
            self.body.weight.mul_(0.05)
            self.body.bias.fill_(5.0)
            self.edge.weight.fill_(-1.0)
            self.edge.weight[:, :, 1, 1] = 8.0
            self.fc.weight.copy_(torch.tensor([[1.0, 0.2, 0.5, 0.3], [-1.0, 0.4, 0.1, -0.6]]))

    def forward(self, x):
        return self.fc(F.relu(self.edge(self.body(x))).mean((2, 3)))


class Sided(nn.Module):
    """Reads left and right apart, as a network that was trained on unturned pictures of text might."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(8 * 16 * 16, 2)
        with torch.no_grad():
            side = torch.where(torch.arange(16) < 8, 1.0, -1.0).expand(8, 16, 16).flatten()
            self.fc.weight.copy_(torch.stack([side, -side]) * 0.1)

    def forward(self, x):
        return self.fc(F.relu(self.body(x)).flatten(1))


def on_the_left() -> torch.Tensor:
    x = 0.05 * torch.randn(4, 3, SIDE, SIDE)
    x[..., : SIDE // 2] += 1.5 * torch.randn(4, 3, SIDE, SIDE // 2)
    return x


FAULTS = {
    "a NaN among the weights": (lambda: with_weights(nan_weight), {}, "weights"),
    "left in training mode": (lambda: well().train(), {}, "mode"),
    "batch norm that was never trained": (lambda: with_weights(fresh_statistics), {}, "batch norm"),
    "batch norm without statistics": (lambda: with_weights(no_statistics), {}, "batch norm"),
    "a head of zeros": (lambda: with_weights(zero_head), {}, "head"),
    "a hook left behind": (left_behind, {}, "hooks"),
    "half precision": (lambda: well().half(), {"images": SHOWN.half()}, "precision"),
    "dropout that never stops": (lambda: Inside(lambda x: F.dropout(x, 0.5, training=True)), {}, "chance"),
    "statistics of the batch": (lambda: Inside(lambda x: x - x.mean(0, keepdim=True)), {}, "batch"),
    "a constant answer": (lambda: Inside(lambda x: x * 0), {}, "constant"),
    "a softmax inside": (lambda: Wrapped(well(), lambda s: s.softmax(1)), {}, "softmax"),
    "a sigmoid inside": (lambda: Wrapped(copy.deepcopy(trained("one output")), torch.sigmoid), {}, "softmax"),
    "a saturated softmax": (lambda: with_weights(sure_head), {}, "saturated"),
    "answers as good as even": (lambda: with_weights(even_head), {}, "flat"),
    "overflow": (lambda: Wrapped(well(), lambda s: (s * 1e38) * 1e38 * 0), {}, "overflow"),
    "a network that knows left from right": (Sided, {"images": on_the_left}, "mirror"),
    "labels of other classes": (lambda: ll.load(well(), labels=["a", "b"]), {}, "labels"),
    "bytes for floats": (well, {"images": SHOWN * 60 + 120}, "range"),
    "pictures that are not normalised": (carded, {"images": SHOWN.sigmoid()}, "range"),
    "pictures of one colour": (well, {"images": torch.full((2, 3, SIDE, SIDE), 0.3)}, "range"),
    "a layer after pooling": (well, {"layer": "6"}, "layer"),
    "a layer beside the answer": (lambda: Aside(), {"layer": "aside"}, "layer"),
    "a gradient that is dead": (lambda: Inside(lambda x: x.clamp(max=-1.0) + x.detach()), {}, "gradient"),
    "dead ReLUs": (lambda: with_weights(dead_relus), {"layer": "5"}, "dead layer"),
    "pictures that are too small": (well, {"images": SHOWN[..., :10, :10]}, "coarse"),
    "a method without a class": (well, {"method": "eigencam"}, "class"),
    "a method that does not hear the head": (well, {"method": "eigencam"}, "head"),
    "a head that tells no classes apart": (lambda: with_weights(indifferent_head), {}, "class"),
    "a network that sees its padding": (Padded, {}, "padding"),
}


class Aside(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = well()
        self.aside = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        self.aside(x)
        return self.network(x)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    plant, given, check = FAULTS[fault]
    images = given.get("images", SHOWN)
    how = {name: value for name, value in given.items() if name != "images"}
    found = ll.doctor(plant(), images() if callable(images) else images, **how)
    assert check in [finding.check for finding in found], f"found {[str(f) for f in found]}"
    told = next(finding for finding in found if finding.check == check)
    assert isinstance(told, Finding) and "\n" not in str(told)
    assert told.remedy[0].isupper() and not told.told.endswith(".") and not told.remedy.endswith(".")


def photographs(count: int = 6) -> list[np.ndarray]:
    """The pictures as bytes, as a file has them: an eighth of a unit is a byte's sixteenth."""
    return [
        ((x.permute(1, 2, 0).clamp(-4, 4) / 8 + 0.5) * 255).round().byte().numpy() for x in pictures(count, seed=77)[0]
    ]


def prepared(mean: float, std: float) -> ll.Model:
    """A network that was trained on pixels less a half, divided by an eighth, with another preprocessing."""
    return ll.load(trained("plain"), preprocessing=ll.Preprocessing((SIDE, SIDE), (mean,) * 3, (std,) * 3, crop=1.0))


class Stretched(nn.Module):
    """A network of pixels in [-1, 1]."""

    def __init__(self):
        super().__init__()
        self.network = trained("plain")

    def forward(self, x):
        return self.network(x * 4)


def test_another_preprocessing_is_suspected_where_it_makes_the_network_much_surer():
    def of(mean, std):
        own = ll.Preprocessing((SIDE, SIDE), (mean,) * 3, (std,) * 3, crop=1.0)
        return [each.check for each in ll.doctor(ll.load(Stretched(), preprocessing=own), photographs())]

    assert of(0.5, 0.5) == []
    assert "preprocessing" in of(0.5, 5.0)


def test_the_network_is_given_back_as_it_came():
    network = well().train()
    before = copy.deepcopy(network.state_dict())
    ll.doctor(network, SHOWN)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_what_can_t_be_examined():
    with pytest.raises(ModelError, match=r"does not run on images of shape \(2, 5, 32, 32\)"):
        ll.doctor(well(), torch.randn(2, 5, SIDE, SIDE))
    with pytest.raises(LayerError, match="no layer 'nowhere'"):
        ll.doctor(well(), SHOWN, layer="nowhere")
    with pytest.raises(ModelError, match="pictures alone"):
        ll.doctor(well(), (SHOWN, torch.tensor([1])))


# ---- at a shell


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(path)
    return str(path)


def test_at_a_shell(photo):
    done = CliRunner().invoke(main, ["doctor", "mobilenetv3_small_050", photo, "--weights", "random", "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == 1 and document["pictures"] == 1 and document["checks"] == len(CHECKS)
    assert "batch norm" in [each["check"] for each in document["findings"]]
    done = CliRunner().invoke(main, ["doctor", "mobilenetv3_small_050", photo, "--weights", "random"])
    assert "batch norm: " in done.stdout and f"by {len(CHECKS)} checks on 1 picture." in done.stdout


def test_at_a_shell_what_can_t_be_done(photo):
    done = CliRunner().invoke(main, ["doctor", "no_such_network", photo])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
