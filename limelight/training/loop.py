"""The second phase, or the only one: the whole network is trained, an epoch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limelight.models import Model
from limelight.training import logs
from limelight.training.augment import AUGMENTATIONS, Augmentation
from limelight.training.cells import has_cells, one_against_the_rest
from limelight.training.folder import Dataset
from limelight.training.frozen import class_weights
from limelight.training.pictures import Pictures
from limelight.training.predict import scores, to_device
from limelight.training.settings import AUTO, Settings
from limelight.training.state import State

LAST, BEST = "epoch", "best"
RATES = {("adamw", True): 3e-5, ("adamw", False): 3e-3, ("sgd", True): 3e-4, ("sgd", False): 3e-2}
"""The highest learning rate, by the optimiser and whether the body has learnt before."""
_NORMS = (nn.modules.batchnorm._BatchNorm,)


class Fit(NamedTuple):
    """What training gave; the network holds the weights of the best epoch."""

    epoch: int
    """The best one; 0 is what it started from."""
    history: list[dict[str, Any]]
    """A row an epoch, as logged."""


def fit(
    model: Model,
    pictures: Pictures,
    dataset: Dataset,
    settings: Settings,
    state: State,
    run: Path,
    loggers: Sequence[logs.Logger],
    progress: Callable[[str, int, int], None],
) -> Fit:
    """Train until the validation loss has not fallen for ``patience`` epochs; goes on from what ``state`` holds.

    Every random number of an epoch depends on the seed and the epoch alone, so an epoch done again is the same.
    """
    network, val, loss_of = model.network, dataset.of("val"), criterion(model)
    truth = torch.tensor(dataset.labels)
    learnt = has_learnt(model)
    optimiser = _optimiser(network, settings)
    kept = state.values(LAST)
    if kept:
        network.load_state_dict(kept["network"])
        optimiser.load_state_dict(kept["optimiser"])
        history, best, best_epoch = kept["history"], kept["best"], kept["best_epoch"]
    else:
        history, best, best_epoch = [], math.inf, 0
        if learnt:  # it may do no better than what it starts from
            best = loss_of(scores(model, pictures, val), truth[val]).item()
        state.keep_tensors(BEST, network.state_dict())
    logs.write(run, history)
    for epoch in range(len(history) + 1, settings.epochs + 1):
        if epoch - best_epoch > settings.patience:
            break
        progress("training", epoch - 1, settings.epochs)
        learning = _epoch(model, pictures, dataset, settings, optimiser, epoch)
        outputs = scores(model, pictures, val)
        loss = loss_of(outputs, truth[val]).item()
        accuracy = (outputs.argmax(1) == truth[val]).float().mean().item()
        row = {"epoch": epoch, **learning, "val_loss": loss, "val_accuracy": accuracy}
        history = [*history, row]
        for log in loggers:
            log(epoch, row)
        if loss < best:
            best, best_epoch = loss, epoch
            state.keep_tensors(BEST, network.state_dict())
        state.keep_values(
            LAST,
            {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "history": history,
                "best": best,
                "best_epoch": best_epoch,
            },
        )
        logs.write(run, history)
    progress("training", settings.epochs, settings.epochs)
    network.load_state_dict(state.tensors(BEST) or {})
    return Fit(best_epoch, history)


def has_learnt(model: Model) -> bool:
    """Whether the network starts from weights that have learnt something."""
    return not model.weights.startswith("random")


def criterion(model: Model) -> Callable[..., Tensor]:
    """What is made small: a function of outputs, labels and, if they count, the classes' weights and the smoothing."""
    return one_against_the_rest if has_cells(model) else _cross_entropy


def _cross_entropy(outputs: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    return F.cross_entropy(outputs, labels, weights, label_smoothing=smoothing)


def _epoch(
    model: Model, pictures: Pictures, dataset: Dataset, settings: Settings, optimiser: torch.optim.Optimizer, epoch: int
) -> dict[str, float]:
    """One pass over the training pictures; the mean loss, and the learning rate it ended with."""
    network, train = model.network, dataset.of("train")
    learnt, loss_of = has_learnt(model), criterion(model)
    parameter = next(network.parameters())
    weights = class_weights(torch.tensor(dataset.labels)[train], len(dataset.classes), settings.balance)
    weights = weights.to(parameter.device)
    order = np.random.default_rng([settings.seed, epoch]).permutation(train).tolist()
    torch.manual_seed(int(np.random.SeedSequence([settings.seed, epoch, 1]).generate_state(1)[0]))  # dropout
    truth = torch.tensor([dataset.items[i].label for i in order], device=parameter.device)
    steps = math.ceil(len(order) / settings.batch_size)
    size = math.ceil(len(order) / steps)  # even batches: none is left with a picture or two
    peak = settings.learning_rate or RATES[settings.optimiser, learnt]
    rate = total = 0.0
    _train_mode(network, learnt)
    batches = pictures.batches(order, size, augmentation_of(settings, len(train)), (settings.seed, 1000 + epoch))
    for step, (batch, labels) in enumerate(zip(batches, truth.split(size), strict=True)):
        done = epoch - 1 + (step + 0.5) / steps
        rate = peak * schedule(done / settings.epochs, settings.warmup)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with _mixed_precision(parameter.device):
            outputs = network(to_device(batch, parameter))
            outputs = outputs[0] if isinstance(outputs, tuple) else outputs  # the others are auxiliary heads
            loss = loss_of(outputs, labels, weights, settings.label_smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item() * len(batch)
    return {"train_loss": total / len(order), "learning_rate": rate}


def schedule(done: float, warmup: float) -> float:
    """The share of the highest learning rate when ``done``, in [0, 1], of training is done.

    It rises in a line during ``warmup``, then falls in half a cosine to 0 (Loshchilov and Hutter 2017, SGDR, eq. 5).
    """
    if done < warmup:
        return done / warmup
    return (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2


def augmentation_of(settings: Settings, pictures: int) -> Augmentation | None:
    """How training pictures are varied: the more there are of them, the less the network learns them by heart."""
    if settings.augment == AUTO:
        return AUGMENTATIONS["medium"]
    return AUGMENTATIONS[settings.augment]


def _optimiser(network: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Weight decay for matrices and kernels, none for biases and norms."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=0.0)


def _train_mode(network: nn.Module, learnt: bool) -> None:
    """Training mode; batch norms that have learnt keep their statistics, which few pictures would only blur."""
    network.train()
    for module in _norms(network) if learnt else ():
        module.eval()


def _norms(network: nn.Module) -> Iterable[nn.Module]:
    return (module for module in network.modules() if isinstance(module, _NORMS))


def _mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the device computes it fast: it has float32's range, so no scaling of the loss is needed."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()
