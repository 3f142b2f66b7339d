"""From a stack of masks or probabilities, of any size, to a file of numbered objects."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.colours import stack_colours
from tfcyclegan3d.objects.blockwise import block_shape_for, number_blocks, widest
from tfcyclegan3d.objects.instances import MINIMUM_SHARE, VALLEY, warn_of_none
from tfcyclegan3d.objects.landscape import estimate_diameter, graded
from tfcyclegan3d.sources import Source
from tfcyclegan3d.tiff.writing import write_planes
from tfcyclegan3d.volumes import Grid
from tfcyclegan3d.zarrs.chunks import Box, plan_boxes
from tfcyclegan3d.zarrs.folders import SUFFIX as ZARR
from tfcyclegan3d.zarrs.pyramid import build_pyramid
from tfcyclegan3d.zarrs.writing import create_zarr, write_box

# Voxels of which an unknown diameter is told.
MOST_ESTIMATED = 2**24
# Bytes of a layer of chunks, which a TIFF file is written from.
LAYER_BYTES = 2**27
CHUNK = 128
# A mask has two.
MOST_VALUES = 2

OnBlock = Callable[[int, int], None]
ReadClass = Callable[[Box, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class Numbered:
    """A stack whose basins have numbers, on disk, and the object of each.

    Parameters
    ----------
    level : zarr.Array
        CZYX int32.
    objects : tuple of ndarray
        For each class, the object of each number in ``level``.
    grid : Grid
        Of the stack.
    classes : tuple of str
        Names of the channels.
    diameters : dict of str to float or None
        By which objects were parted, in voxels along X; None for a class without any.
    """

    level: Any
    objects: tuple[np.ndarray, ...]
    grid: Grid
    classes: tuple[str, ...]
    diameters: dict[str, float | None]

    @property
    def counts(self) -> dict[str, int]:
        """Number of the objects of each class."""
        return {name: int(found.max(initial=0)) for name, found in zip(self.classes, self.objects, strict=True)}

    @property
    def dtype(self) -> np.dtype:
        """The smallest type that holds every number."""
        highest = max(self.counts.values())
        return np.dtype(np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32)

    def save(self, path: Path) -> None:
        """Write the numbers of the objects as TIFF or, where the path ends in ``.zarr``, as OME-Zarr.

        A file is there whole or not at all; a zarr folder must not be there, and is best made in a scratch folder.

        Raises
        ------
        OutputError
        """
        shape, colours = (*self.grid.shape, len(self.classes)), stack_colours(self.classes)
        shown = (0.0, float(max(1, *self.counts.values())))
        if path.suffix != ZARR:
            size = self.grid.voxel_size_um
            write_planes(path, self._planes(), shape, self.dtype, size, colours, shown, self.classes)
            return
        made = create_zarr(
            path,
            shape,
            self.dtype,
            self.level.chunks[1:],
            voxel_size_um=self.grid.voxel_size_um,
            name=path.stem,
            channel_names=self.classes,
            colours=colours,
            display_ranges=[shown] * len(self.classes),
        )
        for box in plan_boxes(self.grid.shape, self.level.chunks[1:], 2**24):
            write_box(made, box, np.moveaxis(self._read(box), 0, -1))
        build_pyramid(path, "nearest")

    def _read(self, box: Box) -> np.ndarray:
        basins = self.level[(slice(None), *box)]
        return np.stack([found[part] for found, part in zip(self.objects, basins, strict=True)]).astype(self.dtype)

    def _planes(self) -> Iterator[np.ndarray]:
        """Yield the planes of all channels of the first Z, then of the next, a layer of chunks at a time."""
        depth, (_, height, width) = self.level.chunks[1], self.grid.shape
        for start in range(0, self.grid.shape[0], depth):
            layer = self._read((slice(start, start + depth), slice(0, height), slice(0, width)))
            for z in range(layer.shape[1]):
                yield from layer[:, z]


@contextmanager
def numbered(
    source: Source,
    classes: Sequence[str],
    diameters: Mapping[str, float],
    scratch_folder: Path,
    *,
    threshold: float | None = 0.5,
    minimum_share: float = MINIMUM_SHARE,
    valley: float = VALLEY,
    spacing: Sequence[float] | None = None,
    centres: ReadClass | None = None,
    on_block: OnBlock | None = None,
) -> Iterator[Numbered]:
    """Give numbers to the objects of a stack, and give what is to be saved of them while the block lasts.

    Parameters
    ----------
    source : Source
        Probabilities (float), or masks: integers and bool, of which 0 alone is background. One class a channel. Or
        grades (see ``landscape.graded``), which keep of probabilities what objects are told apart by.
    classes : sequence of str
        Names of the channels.
    diameters : mapping of str to float
        Typical diameter of each class, in voxels along X, where it is known; estimated for the others.
    scratch_folder : Path
        Existing; on a disk with room for 4 bytes a voxel.
    threshold : float or None
        Probability above which a voxel is foreground; None where the stack holds grades.
    minimum_share, valley
        As `label_objects` takes them.
    spacing : (z, y, x), optional
        Sides of a voxel relative to X; the stack's if not given.
    centres : callable, optional
        From a box and the number of a class to the class's centres in the box (float ZYX), as a network learns them.
    on_block : callable, optional
        Called with (blocks done, blocks in all).

    Raises
    ------
    OutputError
        Where the disk is full.
    UserError
        Where a part of the stack cannot be read.
    """
    grid = source.grid
    spacing = tuple(spacing or aspect(grid.voxel_size_um))
    multiple = (_depth(grid, len(classes)), CHUNK, CHUNK)
    most = widest(grid.shape, spacing, multiple)
    found = {
        name: diameters.get(name) or _estimated(source, k, threshold, spacing, most) for k, name in enumerate(classes)
    }
    with errors.writing(scratch_folder):
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-objects-", dir=scratch_folder))
    try:
        level = create_zarr(
            folder / "basins.zarr", (*grid.shape, len(classes)), np.int32, multiple_within(multiple, grid)
        )
        objects = []
        for k, name in enumerate(classes):
            # Without a diameter there is no outside to any object where it was looked for, or no object.
            diameter = found[name] or min(most, float(max(grid.shape)))

            def write(box: Box, numbers: np.ndarray, k: int = k) -> None:
                with errors.writing(folder):
                    level[(k, *box)] = numbers

            def grades(box: Box, k: int = k) -> np.ndarray:
                return _grades(source.read(box)[..., k], threshold)

            def note(done: int, total: int, k: int = k) -> None:
                if on_block is not None:
                    on_block(k * total + done, len(classes) * total)

            objects.append(
                number_blocks(
                    grades,
                    grid.shape,
                    write,
                    diameter=diameter,
                    spacing=spacing,
                    centres=None if centres is None else lambda box, k=k: centres(box, k),
                    minimum_share=minimum_share,
                    valley=valley,
                    block_shape=block_shape_for(grid.shape, diameter, spacing, multiple),
                    on_block=note,
                )
            )
            warn_of_none(objects[-1], diameter, f"{grid.name}, {name}")
        yield Numbered(level, tuple(objects), grid, tuple(classes), found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_prediction(source: Source) -> None:
    """Check that a stack holds masks or probabilities, as far as its middle plane shows.

    Raises
    ------
    VolumeContentError
    """
    depth, height, width = source.grid.shape
    values = source.read((slice(depth // 2, depth // 2 + 1), slice(0, height), slice(0, width)))
    if values.dtype.kind == "f" and not (values.min() >= 0 and values.max() <= 1):
        raise errors.VolumeContentError(
            source.grid.name,
            f"has values from {values.min():g} to {values.max():g}, which are no probabilities",
            "give masks, or probabilities between 0 and 1",
        )
    if values.dtype.kind in "ui" and len(np.unique(values)) > MOST_VALUES:
        raise errors.VolumeContentError(
            source.grid.name,
            "looks like an image or instance numbers, not like a mask",
            "give the latter with --labels",
        )


def aspect(voxel_size_um: Sequence[float] | None) -> tuple[float, float, float]:
    """Return the sides of a voxel along Z, Y, X relative to X; 1 along each where they are not known."""
    if voxel_size_um is None:
        return (1.0, 1.0, 1.0)
    z, y, x = voxel_size_um
    return (z / x, y / x, 1.0)


def _grades(values: np.ndarray, threshold: float | None) -> np.ndarray:
    if threshold is None:
        return values
    # Of masks all is core.
    return graded(values, threshold) if values.dtype.kind == "f" else 2 * (values != 0).astype(np.uint8)


def _estimated(
    source: Source, channel: int, threshold: float | None, spacing: Sequence[float], most: float
) -> float | None:
    """Return the diameter of a class's objects in the middle of a stack, in voxels along X, and ``most`` at most."""
    shape = source.grid.shape
    share = min(1.0, MOST_ESTIMATED / math.prod(shape))
    # Along Y and X, as stacks are thin.
    lengths = (shape[0], *(max(1, int(side * math.sqrt(share))) for side in shape[1:]))
    z, y, x = (
        slice((side - length) // 2, (side - length) // 2 + length) for side, length in zip(shape, lengths, strict=True)
    )
    estimate = estimate_diameter(_grades(source.read((z, y, x))[..., channel], threshold) > 0, spacing)
    return None if estimate is None else min(estimate, most)


def _depth(grid: Grid, n_classes: int) -> int:
    """Return the planes of a layer of chunks."""
    return max(1, min(grid.shape[0], LAYER_BYTES // (4 * n_classes * grid.shape[1] * grid.shape[2])))


def multiple_within(multiple: Sequence[int], grid: Grid) -> tuple[int, int, int]:
    """Return a chunk's sides, none longer than the stack."""
    z, y, x = (min(side, length) for side, length in zip(multiple, grid.shape, strict=True))
    return z, y, x
