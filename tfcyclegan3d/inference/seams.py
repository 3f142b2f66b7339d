"""How much a mask depends on where tiles lie: it is made again by another grid of them, and compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tfcyclegan3d import panels
from tfcyclegan3d.inference.blocks import BlockPlan, rounded_halo
from tfcyclegan3d.inference.predictor import SegmentationModel
from tfcyclegan3d.inference.workspace import MASK, Job, Workspace
from tfcyclegan3d.placing import in_place
from tfcyclegan3d.sources import Source
from tfcyclegan3d.tiff.writing import SOFTWARE
from tfcyclegan3d.tiling import Shape, Tile
from tfcyclegan3d.volumes import Grid


@dataclass(frozen=True, eq=False)
class Seams:
    """Where two grids of tiles disagree.

    Parameters
    ----------
    shares : ndarray of float, shape (C,)
        Share of the stack's voxels on which the masks of a class differ.
    shares_of_masks : ndarray of float, shape (C,)
        The same, of the voxels of the class's mask.
    map : ndarray of int, YXC
        Number of differing voxels along Z.
    tile_shapes : tuple of two (int, int, int)
        Of both grids.
    """

    shares: np.ndarray
    shares_of_masks: np.ndarray
    map: np.ndarray
    tile_shapes: tuple[Shape, Shape]

    def text(self, classes: Sequence[str]) -> str:
        """Say it in a line."""
        each = ", ".join(
            f"{name} {share:.3%} of the stack, {of_mask:.2%} of its mask"
            for name, share, of_mask in zip(classes, self.shares, self.shares_of_masks, strict=True)
        )
        one, other = ("x".join(map(str, shape)) for shape in self.tile_shapes)
        return f"seams: voxels that differ between tiles of {one} and shifted ones of {other}: {each}"

    def draw(self, path: Path, classes: Sequence[str], grid: Grid) -> None:
        """Draw the map of each class, whole or not at all.

        Raises
        ------
        OutputError
        """
        figure = Figure(figsize=(4.4 * len(classes), 4.6), layout="constrained")
        most = max(1, int(self.map.max()))
        for k, (axis, name) in enumerate(zip(figure.subplots(1, len(classes), squeeze=False)[0], classes, strict=True)):
            drawn = axis.imshow(self.map[..., k], cmap="cividis", vmin=0, vmax=most, interpolation="nearest")
            axis.set_title(f"{name}: {self.shares[k]:.3%} of the voxels differ", fontsize=9)
            axis.set_axis_off()
            if grid.voxel_size_um is not None:
                panels.scale_bar(axis, grid.shape[2], grid.voxel_size_um[2])
        figure.colorbar(drawn, ax=figure.axes, label="differing voxels along z", shrink=0.8)
        with in_place(path) as unfinished:
            figure.savefig(unfinished, format="png", dpi=110, metadata={"Software": SOFTWARE})


def compare(
    job: Job,
    model: SegmentationModel,
    workspace: Workspace,
    source: Source,
    on_block: Callable[[int, int], None],
) -> Seams | None:
    """Segment a stack once more, by smaller tiles on a shifted grid, and compare with the mask that is there.

    There is nothing to compare, and None is returned, where one tile holds the stack and its halves would be smaller
    than their surroundings.

    Parameters
    ----------
    job : Job
        Whose mask is made.
    model : SegmentationModel
        The job's.
    workspace : Workspace
        Holds the mask.
    source : Source
        The stack.
    on_block : callable
        Called with (blocks done, blocks in all).
    """
    settled = workspace.settled(model, source.grid.shape)
    plan = other_plan(model, settled.plan)
    if plan == settled.plan:
        return None
    level = workspace.level(MASK)
    in_mask = np.zeros(level.shape[0], np.int64)
    counts = np.zeros(level.shape[0], np.int64)
    differing = np.zeros((*source.grid.shape[1:], level.shape[0]), np.int32)
    n_done = 0

    def take(place: Tile, values: np.ndarray) -> None:
        nonlocal n_done
        mask = level[(slice(None), *place.slices)].transpose(1, 2, 3, 0) > 0
        differs = (values > job.threshold) != mask
        in_mask[:] += mask.sum(axis=(0, 1, 2))
        counts[:] += differs.sum(axis=(0, 1, 2))
        differing[place.slices[1:]] += differs.sum(axis=0)
        n_done += 1
        on_block(n_done, len(plan.blocks))

    other = type(settled)(settled.bounds, settled.statistics, plan)
    model.prediction(source, other).run(plan.blocks, take)
    shapes = (settled.plan.tile_shape, plan.tile_shape)
    return Seams(counts / math.prod(source.grid.shape), counts / np.maximum(1, in_mask), differing, shapes)


def other_plan(model: SegmentationModel, plan: BlockPlan) -> BlockPlan:
    """Return a plan of smaller tiles that begin elsewhere."""
    inference, step = model.config.inference, model.multiple
    if inference.statistics == "tile":
        return model.plan(plan.shape, tuple(max(step, 3 * side // 4 // step * step) for side in plan.tile_shape))
    halo = rounded_halo(inference.halo, step)
    smaller = []
    for tile, block, whole in zip(plan.tile_shape, plan.block_shape, plan.shape, strict=True):
        if block < whole:
            smaller.append(max(2 * halo + step, tile - max(step, block // 8 // step * step)))
        else:  # An axis that one tile covers is cut where its halves are no smaller than their surroundings.
            smaller.append(-(-whole // 2 // step) * step + 2 * halo if whole >= 4 * halo else tile)
    unshifted = model.plan(plan.shape, smaller)
    offset = tuple(
        side // 2 // step * step if side < whole else 0
        for side, whole in zip(unshifted.block_shape, plan.shape, strict=True)
    )
    return model.plan(plan.shape, smaller, offset)
