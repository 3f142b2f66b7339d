"""The coarser levels of an OME-Zarr image, from which viewers show it at a distance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfcyclegan3d import errors, tiling
from tfcyclegan3d.zarrs.chunks import plan_boxes
from tfcyclegan3d.zarrs.metadata import dataset
from tfcyclegan3d.zarrs.writing import create_level, open_to_write

if TYPE_CHECKING:
    import zarr

METHODS = ("mean", "maximum", "nearest")
# Voxels along the longest side from which on there is no coarser level.
SMALLEST_SIDE = 256
# Z is halved with Y and X unless its voxels are longer than those of X by more than this.
MOST_ELONGATED = 1.5
# Types in which eight values add up.
WIDER = {"uint8": np.uint16, "uint16": np.uint32, "uint32": np.int64, "int32": np.int64, "float32": np.float32}


def build_pyramid(path: str | Path, method: str) -> int:
    """Make the levels above level 0, each from the one below it, in blocks of bounded size.

    Each halves Y and X, and Z unless its voxels are already longer than those of X by more than ``MOST_ELONGATED``,
    until no side is longer than ``SMALLEST_SIDE``. Of an odd number of voxels the last one stands alone. Levels that
    are there are made again, and the image names its levels only once all are whole: a call that was interrupted is
    made good by another.

    Parameters
    ----------
    path : str or Path
        An image made by `tfcyclegan3d.zarrs.writing.create_zarr`, all of whose chunks are written.
    method : str
        What a voxel takes from the up to 2 x 2 x 2 that it stands for. ``"mean"``, rounded half up for integers: images
        and probabilities. ``"maximum"``: masks, which stay 0 and 255 and lose no object, but look fuller from afar.
        ``"nearest"``, the first of them: instance numbers, of which no other is made up.

    Returns
    -------
    int
        The number of levels, level 0 among them.

    Raises
    ------
    OutputError
        If a level cannot be written.
    ValueError
        If there is no such method.
    """
    import zarr

    if method not in METHODS:
        raise ValueError(f"no method {method!r}: give one of {', '.join(METHODS)}")
    path = Path(path)
    with errors.writing(path):
        group = zarr.open_group(str(path), mode="r+")
        attributes = dict(group.attrs)
    image = attributes.get("ome", attributes)["multiscales"][0]
    size = tuple(image["datasets"][0]["coordinateTransformations"][0]["scale"][1:])
    finer, reached = open_to_write(path), (1, 1, 1)
    levels = [dataset("0", reached, size, centred=False)]
    for number, factors in enumerate(plan_levels(finer.shape[1:], size), start=1):
        steps = tuple(factor // before for factor, before in zip(factors, reached, strict=True))
        shape = (finer.shape[0], *(-(-side // step) for side, step in zip(finer.shape[1:], steps, strict=True)))
        coarser = create_level(path, str(number), shape, finer.dtype, finer.chunks[1:], group.metadata.zarr_format)
        with errors.writing(path):
            _fill(coarser, finer, steps, method)
        levels.append(dataset(str(number), factors, size, centred=method != "nearest"))
        finer, reached = coarser, factors
    with errors.writing(path):
        image |= {"datasets": levels, "type": method}
        group.update_attributes(attributes)
    return len(levels)


def plan_levels(shape: Sequence[int], voxel_size: Sequence[float]) -> list[tuple[int, int, int]]:
    """Return, for each level above level 0, how many voxels of level 0 a side of its voxels is long, (z, y, x)."""
    levels: list[tuple[int, int, int]] = []
    sides, factors, length_of_x = list(shape), [1, 1, 1], voxel_size[2]
    while max(sides) > SMALLEST_SIDE:
        halves_z = factors[0] * voxel_size[0] <= MOST_ELONGATED * length_of_x
        for axis in range(3) if halves_z else (1, 2):
            if sides[axis] > 1:
                sides[axis], factors[axis] = -(-sides[axis] // 2), 2 * factors[axis]
        length_of_x *= 2
        if tuple(factors) != (levels or [(1, 1, 1)])[-1]:
            levels.append((factors[0], factors[1], factors[2]))
    return levels


def reduced(values: np.ndarray, steps: Sequence[int], method: str) -> np.ndarray:
    """Make one voxel of ``steps`` voxels along each axis of an array ZYX, by the method of `build_pyramid`."""
    if method == "nearest":
        return values[tuple(slice(None, None, step) for step in steps)]
    # A side's last voxel, where it stands alone, is doubled, which changes neither its mean nor its maximum.
    values = np.pad(values, [(0, -side % step) for side, step in zip(values.shape, steps, strict=True)], mode="edge")
    combine, dtype = (np.maximum, values.dtype) if method == "maximum" else (np.add, WIDER[values.dtype.name])
    made = values
    for axis, step in enumerate(steps):
        if step == 2:
            first, second = (made[(slice(None),) * axis + (slice(start, None, 2),)] for start in (0, 1))
            made = combine(first, second, dtype=dtype)
    if combine is np.maximum or made is values:
        return made
    n_voxels = math.prod(steps)
    return (made / n_voxels if values.dtype.kind == "f" else (made + n_voxels // 2) // n_voxels).astype(values.dtype)


def _fill(coarser: zarr.Array, finer: zarr.Array, steps: Sequence[int], method: str) -> None:
    n_values = tiling.SLAB_VALUES // math.prod(steps)
    for box in plan_boxes(coarser.shape[1:], coarser.chunks[1:], n_values):
        source = tuple(slice(part.start * step, part.stop * step) for part, step in zip(box, steps, strict=True))
        for channel in range(coarser.shape[0]):
            coarser[(channel, *box)] = reduced(finer[(channel, *source)], steps, method)
