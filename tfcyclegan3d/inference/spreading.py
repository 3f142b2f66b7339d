"""Handing blocks out to the workers of a Dask cluster: processes here, or on machines that see the same folders."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfcyclegan3d import errors
from tfcyclegan3d.inference.worker import make_part
from tfcyclegan3d.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

    from tfcyclegan3d.inference.whole_stacks import Make
    from tfcyclegan3d.inference.workspace import Job, Workspace

logger = logging.getLogger(__name__)

LOCAL = re.compile(r"local(?::([1-9]\d*))?")
REMOTE = re.compile(r"(tcp|tls|ucx|ws|wss)://.+:\d+")
# Processor cores for each worker of a local cluster whose number is not given.
CORES_PER_WORKER = 8
# Seconds.
CONNECTING, WITHOUT_WORKERS, ENDING, LOOKING = 15, 60, 60, 2
# Blocks a worker makes in one go, so that it reads and writes others while it computes one; and how many times each
# worker asks for more at least, so that all end at about the same time.
MOST_AT_ONCE, TURNS = 8, 4


@dataclass(frozen=True)
class Scheduler:
    """Where blocks are handed out.

    Parameters
    ----------
    address : str or None
        Of a scheduler that runs; None for a cluster of one's own on this machine.
    n_workers : int
        Of a cluster of one's own.
    """

    address: str | None = None
    n_workers: int = 1

    @classmethod
    def parse(cls, text: str) -> Scheduler:
        """Return what ``tcp://HOST:PORT``, ``local`` or ``local:N`` stands for.

        Raises
        ------
        OptionError
        """
        found = LOCAL.fullmatch(text)
        if found is not None:
            return cls(None, int(found[1] or max(2, (os.cpu_count() or 1) // CORES_PER_WORKER)))
        if not REMOTE.fullmatch(text):
            raise errors.OptionError("--scheduler", text, "give tcp://HOST:PORT, local or local:N, as local:4")
        return cls(text)


@contextmanager
def workers(scheduler: Scheduler) -> Iterator[Make]:
    """Give what ``segment_stacks`` has blocks made by; a cluster of one's own is gone at the end.

    Parameters
    ----------
    scheduler : Scheduler
        Of workers that have this version of the package, and see stacks, model and outputs under the same paths.

    Raises
    ------
    OptionError
        Where Dask is not installed.
    ClusterError
        Where the scheduler cannot be reached, or has no worker.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        remedy = "install what it needs first: pip install 'tfcyclegan3d[distributed]'"
        raise errors.OptionError("--scheduler", scheduler.address or "local", remedy) from error
    # What Dask says of every connection is not for who asked for masks.
    for name in ("distributed", *(one for one in logging.root.manager.loggerDict if one.startswith("distributed."))):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        where = scheduler.address
        if where is None:
            where = stack.enter_context(LocalCluster(**_own(scheduler.n_workers)))
        client = stack.enter_context(_connected(lambda: Client(where, timeout=CONNECTING), where))
        yield functools.partial(_make, client)


def _own(n_workers: int) -> dict[str, Any]:
    """Return the cluster of so many processes, among which the machine's cores are divided."""
    n_threads = str(max(1, (os.cpu_count() or 1) // n_workers))
    return {
        "n_workers": n_workers,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": ":0",
        "memory_limit": 0,  # Its own limit kills workers; the size of tiles keeps to one.
        "silence_logs": logging.CRITICAL,
        "env": {"TF_NUM_INTRAOP_THREADS": n_threads, "OMP_NUM_THREADS": n_threads, "TF_CPP_MIN_LOG_LEVEL": "3"},
    }


@contextmanager
def _connected(connect: Callable[[], Client], where: object) -> Iterator[Client]:
    try:
        client = connect()
    except (OSError, ValueError, MemoryError) as error:  # A timeout is an OSError; HTTP is read as an immense length.
        raise errors.ClusterError(
            f"scheduler {where}: cannot be reached within {CONNECTING} s ({str(error) or type(error).__name__})",
            "start one with 'dask scheduler', give the address that it prints, or use --scheduler local:N",
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=5)


def _make(client: Client, job: Job, workspace: Workspace, numbers: Sequence[int], on_block: Callable[[], None]) -> None:
    """Have blocks made by whoever there is, and again by others where a worker dies; see ``Make``."""
    if not numbers:
        return
    parts = divided(numbers, len(_wait_for_workers(client)))
    folder = str(workspace.folder.resolve())
    futures = {client.submit(make_part, job, folder, part, __version__, pure=False): len(part) for part in parts}
    try:
        for future in _ended(client, set(futures)):
            future.result()
            for _ in range(futures[future]):
                on_block()
    except KeyboardInterrupt:
        client.cancel(list(futures))
        raise
    except BaseException as error:
        _stop(workspace, list(futures))
        told = error if isinstance(error, errors.UserError) else _told(error)
        if isinstance(told, errors.ClusterError):  # What the workers have made is as good as ever.
            workspace.take_up()
        if told is error:
            raise
        raise told from error


def divided(numbers: Sequence[int], n_workers: int) -> list[list[int]]:
    """Return parts of a job: neighbours together, some for every worker, none so large that its loss costs much."""
    length = max(1, min(MOST_AT_ONCE, len(numbers) // (TURNS * max(1, n_workers))))
    return [list(numbers[start : start + length]) for start in range(0, len(numbers), length)]


def _wait_for_workers(client: Client) -> set[str]:
    try:
        client.wait_for_workers(1, timeout=WITHOUT_WORKERS)
        return _addresses(client)
    except TimeoutError as error:
        raise _no_workers() from error
    except OSError as error:
        raise _told(error) from error


def _addresses(client: Client) -> set[str]:
    # Not scheduler_info: it returns what the client keeps, which its own look every other second leaves without any.
    return set(client.nthreads())


def _ended(client: Client, remaining: set[Future]) -> Iterator[Future]:
    """Yield what has ended, for as long as there is a worker, and say when one is gone."""
    from distributed import wait

    there, idle = _addresses(client), 0
    while remaining:
        try:
            ended = wait(remaining, timeout=LOOKING, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            ended = set()
        now = _addresses(client)
        if there - now:
            logger.warning("%d worker(s) lost: their blocks are made again by others", len(there - now))
        there = now
        idle = 0 if now or ended else idle + LOOKING
        if idle >= WITHOUT_WORKERS:
            raise _no_workers()
        remaining -= ended
        yield from ended


def _stop(workspace: Workspace, futures: list[Future]) -> None:
    """Take the job from the workers, and wait until none writes to its folder any more."""
    from distributed import wait

    workspace.abandon()
    try:
        wait(futures, timeout=ENDING)
    except Exception:
        logger.debug("workers did not end", exc_info=True)


def _no_workers() -> errors.ClusterError:
    return errors.ClusterError(
        f"the scheduler has had no worker for {WITHOUT_WORKERS} s",
        "start some with 'dask worker ADDRESS', then give the same command again",
    )


def _told(error: BaseException) -> BaseException:
    """Return what a user can do about what went wrong in the cluster; the error itself where that is not known."""
    from distributed import KilledWorker

    if isinstance(error, KilledWorker):
        return errors.ClusterError(
            "several workers died one after another while they made the same blocks",
            "look at their logs; where they ran out of memory, start fewer on a machine, or give a smaller --tile",
        )
    if isinstance(error, ImportError):
        return errors.ClusterError(
            f"a worker cannot do its work ({error})", f"install tfcyclegan3d {__version__} where the workers run"
        )
    if type(error).__module__.startswith("distributed") or isinstance(error, TimeoutError | OSError):
        return errors.ClusterError(
            f"the scheduler cannot be reached any more ({type(error).__name__})",
            "see whether it runs, then give the same command again",
        )
    return error
