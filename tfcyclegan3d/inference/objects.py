"""The objects of a mask that a job has made, numbered block by block before its files are finished."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfcyclegan3d import errors, tiling
from tfcyclegan3d.config import Config
from tfcyclegan3d.inference.workspace import CENTRES, GRADES, OBJECTS, Job, Workspace
from tfcyclegan3d.objects.numbering import aspect, numbered
from tfcyclegan3d.synthesis.diameters import diameters_in_voxels
from tfcyclegan3d.synthesis.prior import Prior
from tfcyclegan3d.volumes import Grid
from tfcyclegan3d.zarrs.chunks import Box, plan_boxes


class GradesSource:
    """The grades in a workspace, to read boxes from.

    Parameters
    ----------
    level : zarr.Array
        CZYX.
    grid : Grid
        Of the stack.
    """

    def __init__(self, level: Any, grid: Grid) -> None:
        self._level = level
        self.grid = grid
        self.dtype = np.dtype(level.dtype)

    def read(self, box: Box) -> np.ndarray:
        """Return a box of voxels (Z, Y, X, C)."""
        return np.moveaxis(self._level[(slice(None), *box)], 0, -1)

    def slabs(self):
        """Yield boxes of whole chunks."""
        return plan_boxes(self.grid.shape, self._level.chunks[1:], tiling.SLAB_VALUES)


def number_objects(
    job: Job,
    workspace: Workspace,
    config: Config,
    grid: Grid,
    suffix: str,
    on_block: Callable[[int, int], None],
) -> dict[str, int]:
    """Write the numbered objects of a job's mask into its workspace, and return how many there are of each class.

    Parameters
    ----------
    job : Job
        All of whose blocks are made; its ``objects`` holds diameters that were given. Where it has ``centres``, these
        tell the objects apart, else the depth in the foreground and its core does.
    workspace : Workspace
        Its own.
    config : Config
        The model's, whose prior tells the other diameters; where it has none, they are estimated from the mask.
    grid : Grid
        Of the stack.
    suffix : {".tif", ".zarr"}
        Of the file.
    on_block : callable
        Called with (blocks done, blocks in all).

    Raises
    ------
    OptionError
        For a diameter of a class that there is not, or in micrometres of a stack without a voxel size.
    OutputError
        Where the disk is full.
    """
    diameters, spacing = diameters_of(config, grid, job.objects or {})
    source = GradesSource(workspace.level(GRADES), grid)
    path = workspace.folder / f"{OBJECTS}{suffix}"
    if path.is_dir():  # Of a call that was stopped.
        shutil.rmtree(path)
    with numbered(
        source,
        config.classes,
        diameters,
        workspace.folder,
        threshold=None,
        valley=job.valley,
        spacing=spacing,
        centres=_centres_in(workspace) if job.centres else None,
        on_block=on_block,
    ) as found:
        found.save(path)
        return found.counts


def _centres_in(workspace: Workspace) -> Callable[[Box, int], np.ndarray]:
    level = workspace.level(CENTRES)
    return lambda box, channel: level[(channel, *box)]


def move_objects(job: Job, workspace: Workspace, suffix: str, folder: Path) -> None:
    """Move the numbered objects to where they belong, in place of what is there.

    Raises
    ------
    OutputError
    """
    target = folder / f"{job.name}_{OBJECTS}{suffix}"
    with errors.writing(target):
        if target.is_dir():
            shutil.rmtree(target)
        (workspace.folder / f"{OBJECTS}{suffix}").replace(target)


def diameters_of(
    config: Config, grid: Grid, given: Mapping[str, float | str]
) -> tuple[dict[str, float], tuple[float, float, float]]:
    """Return the typical diameter of each class where it is known, in voxels along X, and the sides of a voxel.

    What is given goes before what the run's prior says. A prior in voxels draws objects whose sides count alike in
    voxels, whatever the stack's voxel size; so they are looked for.

    Parameters
    ----------
    config : Config
        Of the model.
    grid : Grid
        Of the stack.
    given : mapping
        Diameters by class, as ``--object-diameter`` takes them.

    Raises
    ------
    OptionError
        As `number_objects` does.
    """
    known = diameters_in_voxels(given, config.classes, grid)
    if config.synthesis.prior is None:
        return known, aspect(grid.voxel_size_um)
    prior = Prior.from_dict(config.synthesis.prior)
    if prior.unit == "voxels":
        spacing, unit = (1.0, 1.0, 1.0) if not known else aspect(grid.voxel_size_um), 1.0
    elif grid.voxel_size_um is None:
        return known, (1.0, 1.0, 1.0)
    else:
        spacing, unit = aspect(grid.voxel_size_um), grid.voxel_size_um[2]
    return {one.name: one.typical_diameter / unit for one in prior.objects} | known, spacing
