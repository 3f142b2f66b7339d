"""Making the blocks of a job: what one process does, alone or beside others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tfcyclegan3d.inference.predictor import SegmentationModel
from tfcyclegan3d.inference.workspace import CENTRES, GRADES, MASK, PROBABILITY, Job, Workspace
from tfcyclegan3d.objects.landscape import core_of, graded
from tfcyclegan3d.sources import Source
from tfcyclegan3d.tiling import Tile


def prepare(job: Job, model: SegmentationModel, workspace: Workspace) -> None:
    """Look through a job's stack and begin its workspace, unless that was begun before.

    Raises
    ------
    UserError
        Where the stack cannot be segmented, or the workspace not be written.
    """
    if workspace.is_of(job):
        return
    if job.centres:
        model.check_centres()
    source = job.open(workspace.folder.parent)
    workspace.begin(job, model.settle(source, job.tile), model, source.grid)


def make_blocks(
    job: Job,
    model: SegmentationModel,
    workspace: Workspace,
    numbers: Sequence[int],
    on_block: Callable[[], None],
    source: Source | None = None,
) -> None:
    """Segment blocks of a stack into its workspace and note each.

    Parameters
    ----------
    job : Job
        Of the stack.
    model : SegmentationModel
        The job's.
    workspace : Workspace
        Begun for the job.
    numbers : sequence of int
        Which blocks.
    on_block : callable
        Called after each.
    source : Source, optional
        The stack, if it is open.

    Raises
    ------
    UserError
        Where a part of the stack cannot be read, or the disk is full.
    """
    source = source or job.open(workspace.folder.parent)
    settled = workspace.settled(model, source.grid.shape)
    order = iter(numbers)

    n_classes = len(model.classes)
    levels = model.config.inference.outline_levels or (0.5,) * n_classes
    cores = [core_of(job.threshold, level) for level in levels]

    def write(place: Tile, made: np.ndarray) -> None:
        values = made[..., :n_classes]
        workspace.write(MASK, place, np.where(values > job.threshold, np.uint8(255), np.uint8(0)))
        if job.probabilities:
            workspace.write(PROBABILITY, place, values)
        if job.objects is not None:
            grades = [graded(values[..., k], job.threshold, core) for k, core in enumerate(cores)]
            workspace.write(GRADES, place, np.stack(grades, axis=-1))
        if job.centres:
            workspace.write(CENTRES, place, made[..., n_classes:])
        workspace.note(next(order))
        on_block()

    prediction = model.prediction(source, settled, with_centres=job.centres)
    prediction.run((settled.plan.blocks[number] for number in numbers), write)
