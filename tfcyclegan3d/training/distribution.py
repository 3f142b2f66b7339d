"""Which devices and machines share a training, and what they must agree on.

Every replica (a device) holds all weights and takes an equal part of each batch; ``replicas`` is what a step asks of
them. Every worker (a process, on a machine of its own) prepares the same data and runs the same loop; the first one,
the chief, alone writes files.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress

import numpy as np
import tensorflow as tf

from tfcyclegan3d import errors
from tfcyclegan3d.config_sections import TrainingConfig

# What TensorFlow's errors say, among other things, on workers that were waiting for one that failed.
COLLECTIVE_ABORTED = "Collective ops is aborted by:"

Losses = Mapping[str, tf.Tensor | np.ndarray]
Step = Callable[..., Losses]


class Distribution:
    """The devices a training runs on.

    Parameters
    ----------
    strategy : tf.distribute.Strategy, optional
        None for one device, which then runs as if there was no such thing.
    n_workers : int
        Processes that train together.
    worker : int
        Which of them this is; 0 is the chief.
    note : str, optional
        What the user should know about the choice.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy | None = None,
        n_workers: int = 1,
        worker: int = 0,
        note: str | None = None,
    ) -> None:
        self._strategy = strategy
        self.n_workers = n_workers
        self.worker = worker
        self.note = note
        self.n_replicas = strategy.num_replicas_in_sync if strategy is not None else 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run folder and shows progress."""
        return self.worker == 0

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Be the context in which networks, optimisers and all that a step changes are made."""
        with self._naming_lost_workers(), self._strategy.scope() if self._strategy is not None else nullcontext():
            yield

    def samples(self, batch_size: int) -> range:
        """Return which samples of a batch this worker's devices take."""
        share = batch_size // self.n_workers
        return range(self.worker * share, (self.worker + 1) * share)

    def over_replicas(self, step: Step) -> Step:
        """Return a function of this worker's batches (a tuple of BZYXC) and of what else ``step`` takes.

        Parameters
        ----------
        step : callable
            An object whose ``__call__`` is a ``tf.function`` of batches and further tensors and returns losses by name.

        Returns
        -------
        callable
            Runs the step on every device, each with its part of the batches, and returns the losses' means.
        """
        if self._strategy is None:
            return lambda batches, *others: step(*batches, *others)
        strategy, n_local = self._strategy, self.n_replicas // self.n_workers
        # A graph inside a replica's could not wait for the other replicas.
        uncompiled = type(step).__call__.python_function

        def on_replica(batches, others):
            place = tf.distribute.get_replica_context().replica_id_in_sync_group % n_local
            return uncompiled(step, *(tf.stack(tf.split(batch, n_local))[place] for batch in batches), *others)

        @tf.function
        def on_all(batches, others):
            losses = strategy.run(on_replica, args=(batches, others))
            return {name: strategy.reduce(tf.distribute.ReduceOp.MEAN, loss, None) for name, loss in losses.items()}

        def run(batches, *others):
            with self._naming_lost_workers():
                return {name: loss.numpy() for name, loss in on_all(batches, others).items()}

        return run

    def agreed(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """Return the chief's time, and whether any worker wants to stop: every worker calls this after each step."""
        if self.n_workers == 1:
            return seconds, stop
        time, n_stopping = self._summed([seconds if self.is_chief else 0.0, float(stop)])
        return float(time), bool(n_stopping > 0)

    def of_chief(self, values: np.ndarray) -> np.ndarray:
        """Return the chief's numbers on every worker, each of which gives as many."""
        if self.n_workers == 1:
            return values
        return self._summed(np.asarray(values) if self.is_chief else np.zeros_like(values))

    def check_alike(self, parts: Mapping[str, object]) -> None:
        """Compare what the workers were started with, before unlike ones would wait for each other for ever.

        Parameters
        ----------
        parts : mapping of str to object
            By what to call them, things whose ``repr`` must be the same on every worker.

        Raises
        ------
        ClusterError
        """
        if self.n_workers == 1:
            return
        mine = [int.from_bytes(hashlib.sha256(repr(part).encode()).digest()[:4], "big") for part in parts.values()]
        given = np.zeros((self.n_workers, len(mine)))
        given[self.worker] = mine
        given = self._summed(given)
        for name, numbers in zip(parts, given.T, strict=True):
            unlike = [int(worker) for worker in np.flatnonzero(numbers != numbers[0])]
            if unlike:
                # Who ends first may take along what another has not received yet: end when all have compared.
                with suppress(errors.ClusterError):
                    self._summed(0.0)
                raise errors.ClusterError(
                    f"worker {unlike[0]} was started with other {name} than worker 0",
                    "start every worker with the same command, stacks and versions",
                )

    @contextmanager
    def _naming_lost_workers(self) -> Iterator[None]:
        """Turn what TensorFlow says when another worker is gone into an error that says so.

        Raises
        ------
        ClusterError
        """
        try:
            yield
        except tf.errors.OpError as error:
            aborted = error.message.partition(COLLECTIVE_ABORTED)[2]
            if self.n_workers == 1 or not (aborted or isinstance(error, tf.errors.UnavailableError)):
                raise
            raise errors.ClusterError(
                f"worker {self.worker} lost touch with another ({_first_line(aborted or error.message)})",
                "see what that one says; start all of them again, with --resume",
            ) from error

    def _summed(self, values: object) -> np.ndarray:
        """Return the sum (float64) over workers of as many numbers from each."""
        with self._naming_lost_workers():
            return self._sum(tf.constant(values, tf.float64)).numpy()

    @functools.cached_property
    def _sum(self) -> Callable[[tf.Tensor], tf.Tensor]:
        strategy, n_local = self._strategy, self.n_replicas // self.n_workers

        def on_replica(values):
            context = tf.distribute.get_replica_context()
            # A worker speaks through the first of its devices.
            speaks = context.replica_id_in_sync_group % n_local == 0
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(speaks, values, tf.zeros_like(values)))

        @tf.function
        def run(values):
            return strategy.experimental_local_results(strategy.run(on_replica, args=(values,)))[0]

        return run


def choose(training: TrainingConfig) -> Distribution:
    """Choose the devices for a training, as its settings and ``TF_CONFIG`` have it.

    Parameters
    ----------
    training : TrainingConfig
        ``devices`` and ``batch_size``.

    Raises
    ------
    ConfigError
        For a batch that the devices cannot share equally, or more devices than there are.
    ClusterError
        For a ``TF_CONFIG`` that names no usable cluster, or one that cannot be joined.
    """
    n_workers, worker = cluster()
    n_gpus = len(tf.config.list_physical_devices("GPU"))
    wanted, batch = training.devices, training.batch_size
    if wanted is not None:
        _check_divides(n_workers * wanted, batch)
    elif n_workers > 1:
        _check_divides(n_workers, batch)
    n_local = wanted or _most_that_divide(max(n_gpus, 1), batch // n_workers)
    note = None
    if n_gpus > n_local and wanted is None:
        note = (
            f"{n_local} of {n_gpus} GPUs train, since no more of them can share a batch of {batch} equally; set "
            f"training.batch_size to a multiple of {n_gpus * n_workers} to use all"
        )
    if n_workers > 1:
        return Distribution(_cluster_strategy(n_local, n_gpus), n_workers, worker, note)
    return Distribution(_mirrored(n_local) if n_local > 1 else None, note=note)


def cluster() -> tuple[int, int]:
    """Return how many workers ``TF_CONFIG`` names, and which of them this process is; (1, 0) without it.

    Raises
    ------
    ClusterError
        For one that is no JSON of workers, or whose task is none of them.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return 1, 0
    remedy = 'give {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        document = json.loads(text)
        jobs = {name: len(addresses) for name, addresses in document.get("cluster", {}).items()}
        if not jobs:
            return 1, 0
        job, index = document["task"]["type"], int(document["task"]["index"])
        # TensorFlow counts a chief, where one is named, before the workers.
        place = index + (jobs.get("chief", 0) if job == "worker" else 0)
        usable = set(jobs) <= {"chief", "worker"} and jobs.get("chief", 0) <= 1 and 0 <= index < jobs[job]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.ClusterError(f"TF_CONFIG: received {text!r}", remedy) from error
    if not usable:
        raise errors.ClusterError(f"TF_CONFIG: received {text!r}", remedy)
    return sum(jobs.values()), place


def _check_divides(n_devices: int, batch_size: int) -> None:
    if batch_size % n_devices:
        raise errors.ConfigError(
            "training.batch_size",
            batch_size,
            f"give a multiple of {n_devices}, the number of devices that share a batch, or change training.devices",
        )


def _most_that_divide(n_devices: int, batch_size: int) -> int:
    return max(n for n in range(1, n_devices + 1) if batch_size % n == 0)


@functools.cache
def _mirrored(n_devices: int) -> tf.distribute.Strategy:
    """Return the strategy for GPUs of this machine, or for its logical CPU devices where it has no GPU.

    It is kept: a second one in a process would number what the same devices send each other as the first one does.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if n_devices > len(devices):
        raise errors.ConfigError("training.devices", n_devices, f"give at most {len(devices)}, which are here")
    return tf.distribute.MirroredStrategy([device.name for device in devices[:n_devices]])


@functools.cache
def _cluster_strategy(n_local: int, n_gpus: int) -> tf.distribute.Strategy:
    """Return the strategy of a cluster, which waits for all of its workers; a process can join one but once."""
    if n_local > max(n_gpus, 1):
        raise errors.ConfigError("training.devices", n_local, f"give at most {max(n_gpus, 1)}, which are here")
    try:
        if n_gpus:
            tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:n_local], "GPU")
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:  # TensorFlow has computed something already.
        raise errors.ClusterError(
            f"cannot join the cluster of TF_CONFIG ({error})", "train in a new process"
        ) from error
    except tf.errors.OpError as error:
        raise errors.ClusterError(
            f"cannot join the cluster of TF_CONFIG ({_first_line(error.message)})",
            "check its addresses, and that every worker is started",
        ) from error


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0][:200]
