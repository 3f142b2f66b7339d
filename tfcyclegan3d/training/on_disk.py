"""What a training draws patches from, brought to the networks' grid slab by slab and kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from tfcyclegan3d import preprocessing, tiling
from tfcyclegan3d.config_sections import PreprocessingConfig
from tfcyclegan3d.contents import resembles_intensities
from tfcyclegan3d.preprocessing import CoarseObjects
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.synthesis.centres import centre_distances
from tfcyclegan3d.synthesis.scene import Scene
from tfcyclegan3d.volumes import Volume

logger = logging.getLogger(__name__)

Triple = tuple[int, int, int]
MOST_NUMBERED = 2**24  # Voxels of a given mask, on its own grid, whose objects are numbered at a time.


def images(volumes: Sequence[Volume], config: PreprocessingConfig, scratch: ScratchFile) -> list[np.ndarray]:
    """Average stacks to the networks' grid and stretch their contrast.

    Parameters
    ----------
    volumes : sequence of Volume
        Taken one at a time.
    config : PreprocessingConfig
        With the downsampling settled.
    scratch : ScratchFile
        Where to.

    Returns
    -------
    list of ndarray
        ZYXC float32 in [-1, 1].

    Raises
    ------
    OutputError
        If the disk is full.
    """
    written = [_write_image(volume.array, config, scratch) for volume in volumes]
    return [scratch.array(start, np.float32, shape).transpose(np.argsort(order)) for start, shape, order in written]


def _write_image(
    array: np.ndarray, config: PreprocessingConfig, scratch: ScratchFile
) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Write a stretched stack; return where, and its shape and the order of its axes there.

    The order is that of its own file, so that this is read once from its beginning to its end.
    """
    order, factors = (*tiling.storage_order(array.strides), 3), (*config.downsampling, 1)
    shape = tuple(-(-array.shape[axis] // factors[axis]) for axis in order)
    coarse_slabs = preprocessing.downsampled_slabs(array, config.downsampling)
    start = scratch.write(slab.transpose(order) for slab in coarse_slabs)
    coarse = scratch.array(start, np.float32, shape)
    bounds = preprocessing.stretch_bounds(coarse, config.percentiles)
    slabs = tiling.plan_slabs(shape)
    scratch.write((preprocessing.stretch(coarse[slab], bounds) for slab in slabs), start)
    return start, shape, order


def given_objects(masks: Sequence[Volume], factors: Triple, scratch: ScratchFile) -> list[CoarseObjects]:
    """Return the numbered objects of masks on the networks' grid; a large mask becomes several smaller ones.

    Parameters
    ----------
    masks : sequence of Volume
        0 for background; taken one at a time.
    factors : (int, int, int)
        Of the downsampling.
    scratch : ScratchFile
        Where to.

    Raises
    ------
    OutputError
        If the disk is full.
    """
    objects = []
    for mask in masks:
        _warn_of_an_image(mask)
        piece = tiling.shortened(mask.shape, MOST_NUMBERED)
        for tile in tiling.plan_tiles(mask.shape, piece, (0, 0, 0)):
            part = mask.array[tile.slices] > 0
            numbered = [ndimage.label(part[..., k])[0] for k in range(mask.n_channels)]
            one = CoarseObjects.of(np.stack(numbered, axis=-1).astype(np.int32), factors)
            coverage = scratch.keep(one.coverage)
            objects.append(CoarseObjects(scratch.keep(one.numbers), coverage, coverage))
    return objects


def _warn_of_an_image(mask: Volume) -> None:
    """Say of a mask that its middle planes look like an image, of which every voxel but 0 is trained on as object."""
    middle = mask.shape[0] // 2
    if resembles_intensities(mask.array[max(0, middle - 1) : middle + 2]):
        logger.warning(
            "warning: %s: looks like an image, not like a mask; every voxel that is not 0 is taken for an object",
            mask.name,
        )


def coverages(masks: Sequence[Volume], factors: Triple, scratch: ScratchFile) -> list[np.ndarray]:
    """Return how far objects cover each voxel of the networks' grid, ZYXC float32 in [0, 1], for each mask.

    Parameters
    ----------
    masks : sequence of Volume
        0 for background; taken one at a time.
    factors : (int, int, int)
        Of the downsampling.
    scratch : ScratchFile
        Where to.

    Raises
    ------
    OutputError
        If the disk is full.
    """
    written = []
    for mask in masks:
        slabs = tiling.plan_slabs(mask.array.shape, (0,), factors)
        start = scratch.write(preprocessing.downsample(mask.array[slab] > 0, factors) for slab in slabs)
        sides = zip(mask.shape, factors, strict=True)
        written.append((start, (*(-(-side // factor) for side, factor in sides), mask.n_channels)))
    return [scratch.array(start, np.float32, shape) for start, shape in written]


def with_centres(objects: CoarseObjects, spacing: Sequence[float], scratch: ScratchFile) -> CoarseObjects:
    """Return objects that show how far inside them a voxel lies, too.

    Parameters
    ----------
    objects : CoarseObjects
        Those of a volume.
    spacing : (z, y, x)
        Sides of a voxel of the networks' grid.
    scratch : ScratchFile
        Where to.

    Raises
    ------
    OutputError
        If the disk is full.
    """
    distances = centre_distances(objects.numbers, spacing)
    start = scratch.write(np.concatenate(planes, axis=-1) for planes in zip(objects.coverage, distances, strict=True))
    shape = (*distances.shape[:3], 2 * distances.shape[3])
    return CoarseObjects(objects.numbers, objects.coverage, scratch.array(start, np.float32, shape))


def scene_objects(scene: Scene, factors: Triple, scratch: ScratchFile) -> CoarseObjects:
    """Paint a scene and bring it to a grid coarser by ``factors``, some planes at a time.

    Raises
    ------
    OutputError
        If the disk is full.
    """
    shape = (*scene.shape, len(scene.class_names))
    coarse_shape = (*(-(-side // factor) for side, factor in zip(scene.shape, factors, strict=True)), shape[3])
    slabs = tiling.plan_slabs(shape, (0,), factors)
    numbers = scratch.write(preprocessing.coarse_numbers(scene.numbers(planes), factors) for (planes,) in slabs)
    coverage = scratch.write(preprocessing.downsample(scene.mask(planes) > 0, factors) for (planes,) in slabs)
    covered = scratch.array(coverage, np.float32, coarse_shape)
    return CoarseObjects(scratch.array(numbers, scene.number_type, coarse_shape), covered, covered)
