"""A job's shards done by Ray actors, on this machine or on many: the unit of work, and what is resumed, are the same.

An actor that dies is started again by Ray and given its shard again; what a driver that dies had finished stays, and
the same command goes on. Every machine must see the pictures and the results under the same paths, or by URLs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import torch

from limelight.errors import InputError, LimelightError, MissingExtra
from limelight.streaming.explaining import Eager
from limelight.streaming.job import Job, Tick

LOCAL = "local"
TRIES = 5
"""How often an actor is started again, and a shard begun again, before the run stops."""


class Worker:
    """What an actor runs: the shards that it is given, one after another."""

    def __init__(self, job: Job, folder: str):
        os.chdir(folder)  # paths that were given relative to it
        self.job = job

    def shard(self, number: int) -> Tick:
        """Do a shard."""
        ticks = list(self.job.run(shards=[number]))
        return Tick(sum(tick.pictures for tick in ticks), number, [each for tick in ticks for each in tick.troubles])


def run_on_ray(job: Job, address: str, workers: int | None = None) -> Iterator[Tick]:
    """Do what is left of a job on a cluster; yield as each shard is done, in whatever order that is.

    Args:
        job: with the network itself as its engine.
        address: of the cluster, "auto" for the one this machine belongs to, "local" to start one here.
        workers: how many actors; each has a processor, and a GPU if the network is on one. None for as many as the
            cluster has room for; never more than that, since those without room would wait for ever.

    Raises:
        InputError: the cluster can't be reached or has no room, an engine can't be sent there, or a part can't be
            written.
        MissingExtra: Ray is not installed.
    """
    ray = _ray()
    if workers is not None and workers < 1:
        raise InputError("Ray needs at least one worker: give --workers 1 or more, or none for all there is room for")
    if not isinstance(job.explain, Eager):
        raise InputError("Ray's actors run the network itself: an engine can't be sent to them")
    try:
        alone = {"num_cpus": workers, "include_dashboard": False} if address == LOCAL else {}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **alone)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"no Ray cluster at {address!r}: {str(error).splitlines()[0]}") from error
    try:
        yield from _done(ray, job, _room(ray, job, address, workers))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LimelightError):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError as error:
        raise InputError(
            f"an actor died {TRIES} times, probably because memory ran out: give fewer --workers"
        ) from error
    finally:
        ray.shutdown()


def _room(ray: Any, job: Job, address: str, workers: int | None) -> int:
    """How many actors the cluster can hold, and no more than ``workers``."""
    kind = "GPU" if _gpus(job) else "CPU"
    there = int(ray.cluster_resources().get(kind, 0))
    if not there:
        raise InputError(f"the Ray cluster at {address!r} has no {kind}, which each worker needs")
    return there if workers is None else min(workers, there)


def _done(ray: Any, job: Job, workers: int) -> Iterator[Tick]:
    needs = {"num_cpus": 1, "num_gpus": _gpus(job)}
    actor = ray.remote(max_restarts=TRIES, max_task_retries=TRIES, **needs)(Worker)
    left, sent = job.left, ray.put(job)
    actors = [actor.remote(sent, os.getcwd()) for _ in range(min(workers, len(left)))]
    yield from ray.util.ActorPool(actors).map_unordered(lambda one, shard: one.shard.remote(shard), left)


def _gpus(job: Job) -> int:
    assert isinstance(job.explain, Eager), "looked at before"
    first = next(job.explain.model.network.parameters(), torch.zeros(0))
    return int(first.device.type == "cuda")


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]: an extra
        import ray.exceptions  # pyright: ignore[reportMissingImports, reportUnusedImport]
        import ray.util  # pyright: ignore[reportMissingImports, reportUnusedImport]
    except ImportError as missing:
        raise MissingExtra("ray", "ray", "A cluster") from missing
    return ray
