"""Checks of what a network is, before it is run: its weights, its mode, its hooks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from limelight.checkup.finding import Finding
from limelight.checkup.patient import Patient

NORMS = (nn.modules.batchnorm._BatchNorm,)
RANDOM = (*NORMS, nn.modules.dropout._DropoutNd)


def not_finite(patient: Patient) -> Iterator[Finding]:
    """Weights that are NaN or infinite."""
    state = patient.network.state_dict()
    bad = [
        name
        for name, value in state.items()
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all()
    ]
    if bad:
        yield Finding(
            "weights",
            f"{len(bad)} of its tensors hold NaN or infinity, {bad[0]} the first",
            "Load an earlier checkpoint; training went wrong, or half precision overflowed",
        )


def training_mode(patient: Patient) -> Iterator[Finding]:
    """Batch norm or dropout in training mode."""
    modules = [module for module in patient.network.modules() if isinstance(module, RANDOM)]
    training = [module for module in modules if module.training]
    if training:
        kinds = sorted({type(module).__name__ for module in training})
        yield Finding(
            "mode",
            f"{len(training)} of its {len(modules)} {' and '.join(kinds)} layers are in training mode: its answers "
            "depend on chance and on the other images of the batch",
            "Call network.eval() before you ask it (limelight does so for its own passes, and puts the mode back)",
        )


def statistics(patient: Patient) -> Iterator[Finding]:
    """Batch norms whose running statistics nobody ever updated."""
    norms = [
        module for module in patient.network.modules() if isinstance(module, NORMS) and module.running_var is not None
    ]
    fresh = [
        norm
        for norm in norms
        if not norm.running_mean.any() and bool((norm.running_var == 1).all())  # type: ignore[union-attr]
    ]
    if norms and len(fresh) > len(norms) / 2:
        yield Finding(
            "batch norm",
            f"{len(fresh)} of its {len(norms)} batch norms still have the statistics they were made with (mean 0, "
            "variance 1)",
            "It was never trained, or its buffers were not loaded: load the whole state_dict, running_mean and "
            "running_var too",
        )


def batch_statistics(patient: Patient) -> Iterator[Finding]:
    """Norms that take their statistics from the batch, in evaluation mode too."""
    norms = [module for module in patient.network.modules() if isinstance(module, NORMS)]
    without = [norm for norm in norms if norm.running_mean is None]
    if without:
        yield Finding(
            "batch norm",
            f"{len(without)} of its batch norms keep no running statistics (track_running_stats=False): an image's "
            "answer depends on its batch",
            "Explain one image at a time (batch_size=1), or train it with running statistics",
        )


def dead_head(patient: Patient) -> Iterator[Finding]:
    """A last layer whose weights are all zero."""
    last = [module for module in patient.network.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1:]
    for module in last:
        if not bool(module.weight.any()):
            yield Finding(
                "head",
                f"the weights of its last layer, {type(module).__name__}, are all zero: no class is told from another",
                "Load the head's weights: some libraries leave it out when the number of classes differs",
            )


def hooks(patient: Patient) -> Iterator[Finding]:
    """Hooks that somebody left on it."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found = [
        name or type(module).__name__
        for name, module in patient.network.named_modules()
        if any(getattr(module, kind) for kind in kinds) and not _normed(module)
    ]
    if found:
        yield Finding(
            "hooks",
            f"{len(found)} of its layers carry hooks, {found[0]} the first: they may change what it computes, and keep "
            "what it computed",
            "Remove them (handle.remove()) if another tool left them behind",
        )


def _normed(module: nn.Module) -> bool:
    """Whether the hooks are torch's own, of a weight or spectral norm."""
    hooks = module._forward_pre_hooks.values()
    return bool(hooks) and all(type(hook).__module__.startswith("torch.") for hook in hooks)


def half_on_cpu(patient: Patient) -> Iterator[Finding]:
    """Half precision, where sums of small gradients vanish."""
    halves = [tensor for tensor in patient.network.parameters() if tensor.dtype == torch.float16]
    if halves:
        yield Finding(
            "precision",
            f"{len(halves)} of its tensors are in float16, in which small gradients become zero",
            "Use network.bfloat16() or network.float() for maps",
        )


CHECKS = (not_finite, training_mode, statistics, batch_statistics, dead_head, hooks, half_on_cpu)
