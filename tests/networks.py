"""Small networks, one for each way a network can be awkward, and what they are checked against."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

CLASSES = 5


def spelt(value: object) -> str:
    """A value as a test's name has it: without addresses, which differ between the processes that share the work."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def pictures(batch: int = 2, side: int = 12, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, side, side, generator=generator, dtype=torch.float64).to(dtype)


def logits(outputs: Any) -> Tensor:
    return outputs["logits"] if isinstance(outputs, dict) else outputs


class Plain(nn.Module):
    """Batch norm and dropout, whose answers depend on the mode; ``cut`` has a grid of 6 x 6 for pictures of 12 x 12."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.cut = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.SiLU())
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(8, 8, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(8, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)

    def features(self, x: Tensor) -> Tensor:
        return self.cut(self.stem(x))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.head(self.features(x)))


class InPlaceHead(Plain):
    """Changes the cut layer's own output in place, as DenseNet's last ReLU does."""

    def forward(self, x):
        x = self.features(x)
        x.mul_(2).sub_(0.1)
        x = F.relu(x, inplace=True)
        return self.fc(self.head(x))


class Noisy(Plain):
    """Draws random numbers in every forward."""

    def forward(self, x):
        return super().forward(x + 0.1 * torch.randn_like(x))


class FrozenBody(Plain):
    """A body under ``no_grad`` with the layer inside, and a head outside."""

    def forward(self, x):
        with torch.no_grad():
            x = self.features(x)
        return self.fc(self.head(x))


class FrozenBodyInMiddle(Plain):
    """As FrozenBody, with a stem before it that has a gradient."""

    def forward(self, x):
        x = self.stem(x)
        with torch.no_grad():
            x = self.cut(x)
        return self.fc(self.head(x))


class Checkpointed(Plain):
    """The head is checkpointed."""

    reentrant = False

    def forward(self, x):
        return self.fc(checkpoint(self.head, self.features(x), use_reentrant=self.reentrant))


class CheckpointedBody(Plain):
    """The layer itself is inside a checkpoint."""

    def forward(self, x):
        return self.fc(self.head(checkpoint(self.features, x, use_reentrant=False)))


class DictOutputs(Plain):
    """Outputs as many libraries give them."""

    def forward(self, x):
        features = self.features(x)
        return {"logits": self.fc(self.head(features)), "features": features}


class FrozenBodyDictOutputs(Plain):
    """A frozen body, and outputs that hold its features beside the scores."""

    def forward(self, x):
        with torch.no_grad():
            features = self.features(x)
        return {"features": features, "logits": self.fc(self.head(features))}


class _WithExtra(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.arange(3), {"map": self.inner(x), "count": 3}


class TupleLayer(Plain):
    """The layer returns a tuple holding a dictionary that holds the map."""

    def __init__(self):
        super().__init__()
        self.cut = _WithExtra(self.cut)

    def features(self, x):
        return self.cut(self.stem(x))[1]["map"]


class Twice(nn.Module):
    """One activation module, called at two resolutions and joined by a skip connection."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.relu(self.first(x))
        x = self.relu(self.second(x)) + x.tanh()
        return self.fc(x.mean((2, 3)))


class Branches(nn.Module):
    """Two branches side by side, one of them in two steps, joined before the head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.left = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 1))
        self.right = nn.Sequential(nn.Conv2d(6, 8, 1), nn.Tanh())
        self.join = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.fc((self.join(self.left(x) * self.right(x))).square().mean((2, 3)))


AWKWARD: dict[str, Callable[[], nn.Module]] = {
    "batch norm and dropout": Plain,
    "in-place head": InPlaceHead,
    "frozen body": FrozenBody,
    "frozen body in the middle": FrozenBodyInMiddle,
    "checkpointed head": Checkpointed,
    "layer in a checkpoint": CheckpointedBody,
    "dictionary outputs": DictOutputs,
    "tuple layer": TupleLayer,
}
"""Networks with a layer ``cut``."""


def full_autograd(
    network: nn.Module, names: list[str], x: Tensor, score: Callable[[Any], Tensor]
) -> tuple[list[Tensor], list[Tensor], Any]:
    """Activations, gradients and outputs by back-propagation through the whole network, for layers called once.

    The layer's output is kept with ``retain_grad`` and handed on as a copy, so that in-place heads can't change it.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module, args, output):
            kept[name] = output
            output.retain_grad()
            return output.clone()

        return hook

    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        with torch.enable_grad():
            outputs = network(x.clone().requires_grad_())
            score(outputs).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
        network.zero_grad(set_to_none=True)
    return [kept[n].detach() for n in names], [kept[n].grad for n in names], outputs


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Equations 1 and 2 of Selvaraju et al. 2017 without the ReLU, written out."""
    return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)


def state(network: nn.Module) -> dict[str, Any]:
    """Everything that explaining must leave as it was."""
    return {
        "parameters": {k: (id(p), p._version, p.detach().clone()) for k, p in network.named_parameters()},
        "grads": {k: None if p.grad is None else p.grad.clone() for k, p in network.named_parameters()},
        "requires_grad": {k: p.requires_grad for k, p in network.named_parameters()},
        "buffers": {k: (id(b), b.clone()) for k, b in network.named_buffers()},
        "modes": {k: m.training for k, m in network.named_modules()},
        "attributes": {k: sorted(vars(m)) for k, m in network.named_modules()},
        "hooks": {
            (k, name): list(hooks.items())
            for k, m in network.named_modules()
            for name, hooks in vars(m).items()
            if "hooks" in name and hasattr(hooks, "items")
        },
        "random": torch.get_rng_state(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
    }


def same(a: Any, b: Any) -> bool:
    """Equality to the bit, through dictionaries and tuples."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(torch.equal(a, b)) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Fail if the body changes anything of :func:`state`, also where the body raises."""
    before = state(network)
    try:
        yield
    finally:
        after = state(network)
        assert [what for what in before if not same(before[what], after[what])] == []


@st.composite
def small_networks(draw: st.DrawFn) -> nn.Sequential:
    """Random networks in double precision: convolutions, norms, activations, some in place, then pooling and a head."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    channels, layers = 3, []
    for _ in range(draw(st.integers(1, 4))):
        wide = draw(st.sampled_from([2, 4, 6]))
        kernel, stride = draw(st.sampled_from([(1, 1), (3, 1), (3, 2), (5, 1)]))
        layers.append(nn.Conv2d(channels, wide, kernel, stride, kernel // 2, bias=draw(st.booleans())))
        norms = {"none": nn.Identity(), "batch": nn.BatchNorm2d(wide), "group": nn.GroupNorm(2, wide)}
        layers.append(norms[draw(st.sampled_from(sorted(norms)))])
        acts = [nn.ReLU(), nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.GELU(), nn.Dropout(0.3)]
        layers.append(acts[draw(st.integers(0, len(acts) - 1))])
        channels = wide
    pool = [nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)][draw(st.integers(0, 1))]
    head = [nn.Linear(channels, 7), nn.Hardtanh(inplace=True), nn.Linear(7, CLASSES)]
    network = nn.Sequential(nn.Sequential(*layers), pool, nn.Flatten(), *head).double()
    return network.train(draw(st.booleans()))
