"""The files of synthetic masks, written plane by plane, so that a mask need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfcyclegan3d.colours import stack_colours
from tfcyclegan3d.synthesis.prior_values import Triple
from tfcyclegan3d.synthesis.scene import Scene, save_table
from tfcyclegan3d.tiff.writing import write_planes

# Planes painted at a time: enough that an object is unpacked a few times only.
SLAB = 8


def write_masks(scene: Scene, folder: str | Path, index: int, voxel_size_um: Triple | None = None) -> None:
    """Write ``mask_000.tif`` (0 and 255), ``objects_000.tif`` (numbers) and ``objects_000.csv`` of an index.

    The two stacks are written by two threads.

    Parameters
    ----------
    scene : Scene
        What to paint.
    folder : str or Path
        Where to.
    index : int
        Number in the files' names.
    voxel_size_um : (z, y, x), optional
        Written into the stacks, and used for the table.

    Raises
    ------
    OutputError
    """
    folder = Path(folder)
    shape = (*scene.shape, len(scene.class_names))
    colours = stack_colours(scene.class_names)
    mask = _planes(lambda planes: scene.mask(planes) * np.uint8(255), scene.shape[0])
    numbers = _planes(scene.numbers, scene.shape[0])
    with ThreadPoolExecutor(2) as pool:
        writing = [
            pool.submit(
                write_planes,
                folder / f"mask_{index:03d}.tif",
                mask,
                shape,
                np.uint8,
                voxel_size_um,
                colours,
                class_names=scene.class_names,
            ),
            pool.submit(
                write_planes,
                folder / f"objects_{index:03d}.tif",
                numbers,
                shape,
                scene.number_type,
                voxel_size_um,
                colours,
                (0, max(scene.highest_number, 1)),
                scene.class_names,
            ),
        ]
    for one in writing:
        one.result()
    save_table(scene, folder / f"objects_{index:03d}.csv", voxel_size_um)


def _planes(paint: Callable[[slice], np.ndarray], depth: int) -> Iterator[np.ndarray]:
    """Give the (Y, X) planes of a volume, all channels of the first, then of the next."""
    for first in range(0, depth, SLAB):
        slab = paint(slice(first, min(first + SLAB, depth)))
        for plane in slab:
            yield from np.moveaxis(plane, -1, 0)
