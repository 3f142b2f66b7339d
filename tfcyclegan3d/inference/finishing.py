"""From a finished workspace to the files a user opens: TIFF or OME-Zarr, and a picture."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.colours import stack_colours
from tfcyclegan3d.inference.pictures import overview
from tfcyclegan3d.inference.workspace import MASK, PROBABILITY, Job, Workspace
from tfcyclegan3d.sources import Source
from tfcyclegan3d.tiff.writing import write_planes
from tfcyclegan3d.volumes import Volume
from tfcyclegan3d.zarrs.chunks import plan_boxes
from tfcyclegan3d.zarrs.pyramid import build_pyramid

RANGES = {MASK: (0.0, 255.0), PROBABILITY: (0.0, 1.0)}
COARSENED_BY = {MASK: "maximum", PROBABILITY: "mean"}
# Voxels of all channels in a picture's copy of a stack.
PICTURE_VALUES = 2**25


def kinds(probabilities: bool) -> list[str]:
    """Return what is written of a stack, besides its picture."""
    return [MASK, PROBABILITY] if probabilities else [MASK]


def finish(
    job: Job, workspace: Workspace, source: Source, classes: Sequence[str], suffix: str, folder: Path
) -> list[float]:
    """Write a job's files into a folder, each whole or not at all, in place of those of that name.

    Parameters
    ----------
    job : Job
        All of whose blocks are made.
    workspace : Workspace
        Its own; what it holds is moved where that can be.
    source : Source
        Its stack.
    classes : sequence of str
        Names of the channels.
    suffix : {".tif", ".zarr"}
        Of masks and probabilities.
    folder : Path
        Existing.

    Returns
    -------
    list of float
        Share of the voxels in each class's mask.

    Raises
    ------
    OutputError
    """
    level = workspace.level(MASK)
    counts = np.zeros(len(classes), np.int64)
    for box in plan_boxes(source.grid.shape, level.chunks[1:], 2**24):
        counts += np.count_nonzero(level[(slice(None), *box)], axis=(1, 2, 3))
    picture, unfinished = folder / f"{job.name}_{MASK}.png", workspace.folder / "picture.png"
    with errors.writing(picture):
        _picture(source, level, classes).savefig(unfinished, dpi=110)
    for kind in kinds(job.probabilities):
        target = folder / f"{job.name}_{kind}{suffix}"
        if suffix == ".tif":
            _write_tiff(target, workspace.level(kind), source, classes, RANGES[kind])
        else:
            build_pyramid(workspace.folder / f"{kind}.zarr", COARSENED_BY[kind])
            with errors.writing(target):
                if target.exists():
                    shutil.rmtree(target)
                (workspace.folder / f"{kind}.zarr").replace(target)
    with errors.writing(picture):
        unfinished.replace(picture)
    return (counts / math.prod(source.grid.shape)).tolist()


def _write_tiff(
    path: Path, level: Any, source: Source, classes: Sequence[str], display_range: tuple[float, float]
) -> None:
    grid = source.grid
    shape = (*grid.shape, level.shape[0])
    colours = stack_colours(classes)
    write_planes(path, _planes(level), shape, level.dtype, grid.voxel_size_um, colours, display_range, classes)


def _planes(level: Any) -> Iterator[np.ndarray]:
    """Yield the planes of an array CZYX, all channels of the first Z, then of the next, a layer of chunks at a time."""
    depth = level.chunks[1]
    for start in range(0, level.shape[1], depth):
        layer = level[:, start : start + depth]
        for z in range(layer.shape[1]):
            yield from layer[:, z]


def _picture(source: Source, level: Any, classes: Sequence[str]) -> Any:
    """Draw the stack and its mask, both with every k-th voxel along Y and X where they are large."""
    grid = source.grid
    step = max(1, math.ceil(math.sqrt(math.prod(grid.shape) * grid.n_channels / PICTURE_VALUES)))
    thin = (*grid.shape[:1], *(-(-side // step) for side in grid.shape[1:]))
    image = np.empty((*thin, grid.n_channels), source.dtype)
    mask = np.empty((*thin, level.shape[0]), bool)
    for box in source.slabs():
        image[_thin(box, step)] = source.read(box)[_kept(box, step)]
    for box in plan_boxes(grid.shape, level.chunks[1:], 2**24):
        mask[_thin(box, step)] = level[(slice(None), *box)].transpose(1, 2, 3, 0)[_kept(box, step)] > 0
    size = grid.voxel_size_um and (grid.voxel_size_um[0], *(side * step for side in grid.voxel_size_um[1:]))
    return overview(Volume(image, size, grid.name), Volume(mask, size, grid.name), classes, step=step)


def _kept(box: Sequence[slice], step: int) -> tuple[slice, slice, slice]:
    """Return which voxels of a box are among every k-th of the stack."""
    return slice(None), slice(-box[1].start % step, None, step), slice(-box[2].start % step, None, step)


def _thin(box: Sequence[slice], step: int) -> tuple[slice, slice, slice]:
    """Return where they go."""
    y, x = (slice(-(-part.start // step), -(-part.stop // step)) for part in box[1:])
    return box[0], y, x
