"""What a worker of a Dask cluster does: blocks of a stack into the workspace that all of them share."""

from __future__ import annotations

import functools
import json
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfcyclegan3d import errors
from tfcyclegan3d.quiet_tensorflow import import_quietly
from tfcyclegan3d.version import __version__

if TYPE_CHECKING:
    from tfcyclegan3d.inference.predictor import SegmentationModel
    from tfcyclegan3d.inference.workspace import Job
    from tfcyclegan3d.sources import Source

# A process makes one part at a time, however many threads its worker has: the network takes all cores it may.
_making = threading.Lock()
# The stack that was asked for last stays open.
_opened: tuple[Job, Source] | None = None


def make_part(job: Job, folder: str, numbers: Sequence[int], version: str) -> None:
    """Make those blocks of a job that nobody has made yet.

    Parameters
    ----------
    job : Job
        Of the stack.
    folder : str
        Of its workspace, begun.
    numbers : sequence of int
        Which blocks.
    version : str
        Of the package, where blocks are handed out.

    Raises
    ------
    ClusterError
        Where this process sees other files, or has another version.
    UserError
        As ``make_blocks`` does.
    """
    me = f"worker on {socket.gethostname()} (process {os.getpid()})"
    if version != __version__:
        raise errors.ClusterError(f"{me}: has tfcyclegan3d {__version__}, not {version}", "install the same on all")
    for path in (job.model, job.image, folder):
        if not Path(path).exists():
            raise errors.ClusterError(
                f"{me}: cannot see {path}", "put stacks, model and outputs where every worker sees them by that path"
            )
    with _making:
        import_quietly()
        from tfcyclegan3d.inference.making import make_blocks
        from tfcyclegan3d.inference.workspace import Workspace

        workspace = Workspace(Path(folder))

        def go_on() -> None:
            if not workspace.is_of(job):
                raise errors.ClusterError(f"{me}: {folder} is not of this job any more", "give the command again")

        go_on()
        model, source = _model(job.model, json.dumps(job.changes), str(job.fingerprint)), _source(job, folder)
        missing = set(workspace.remaining(workspace.settled(model, source.grid.shape).plan))
        make_blocks(job, model, workspace, [one for one in numbers if one in missing], go_on, source)


@functools.lru_cache(maxsize=1)
def _model(path: str, changes: str, fingerprint: str) -> SegmentationModel:  # noqa: ARG001 (tells models apart)
    from tfcyclegan3d.inference.predictor import load_model

    return load_model(path, json.loads(changes))


def _source(job: Job, folder: str) -> Source:
    global _opened
    if _opened is None or _opened[0] != job:
        _opened = None
        _opened = job, job.open(Path(folder).parent)
    return _opened[1]
