"""Where patches and tiles lie in a volume, and the padding and cropping around them: integers only.

A plan knows nothing of the voxels or of a network, so that a sampler, a predictor and a test can share it. The cut
between planning locations here and blending values elsewhere follows TorchIO's ``PatchLocation``
(doi:10.1016/j.cmpb.2021.106236).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from tfcyclegan3d import errors

# Values in a slab: 16 MiB of float32.
SLAB_VALUES = 2**22

Shape = tuple[int, ...]  # Z, Y, X; what tuple() makes of three numbers has no length that a type checker knows.
Padding = tuple[tuple[int, int], ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Tile:
    """A box of voxels in a volume.

    Parameters
    ----------
    start : tuple of int
        First voxel, ZYX.
    shape : tuple of int
        Number of voxels along Z, Y, X.
    """

    start: Shape
    shape: Shape

    @property
    def stop(self) -> Shape:
        """Voxel after the last, ZYX."""
        z, y, x = (start + size for start, size in zip(self.start, self.shape, strict=True))
        return z, y, x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices which cut the tile out of an array ZYX or ZYXC."""
        z, y, x = (slice(start, stop) for start, stop in zip(self.start, self.stop, strict=True))
        return z, y, x


def plan_tiles(volume_shape: Sequence[int], tile_shape: Sequence[int], overlap: Sequence[int]) -> list[Tile]:
    """Cover a volume with tiles of one shape.

    Tiles follow each other every ``tile_shape - overlap`` voxels; the last one of an axis is shifted back to end where
    the volume ends, so its overlap with the one before it may be larger, never smaller.

    Parameters
    ----------
    volume_shape : sequence of int
        Shape of the volume, ZYX, at least one tile along every axis (`padding_to` says how to get there).
    tile_shape : sequence of int
        Shape of every tile, ZYX, voxels.
    overlap : sequence of int
        Voxels shared by neighbouring tiles along Z, Y, X; from 0 to one less than the tile.

    Returns
    -------
    list of Tile
        In the order Z, Y, X, X fastest; every voxel lies in at least one of them.

    Raises
    ------
    OptionError
        If a tile is empty or an overlap is negative or not smaller than the tile.
    ValueError
        If the volume is smaller than a tile.
    """
    volume_shape, tile_shape = _zyx("volume shape", volume_shape), _zyx("tile shape", tile_shape)
    overlap = _zyx("tile overlap", overlap)
    if min(tile_shape) < 1:
        raise errors.OptionError("tile shape", tile_shape, "give at least one voxel along each of Z, Y, X")
    if any(not 0 <= shared < size for shared, size in zip(overlap, tile_shape, strict=True)):
        raise errors.OptionError("tile overlap", overlap, f"give 0 or more voxels, fewer than the tile {tile_shape}")
    if any(length < size for length, size in zip(volume_shape, tile_shape, strict=True)):
        raise ValueError(f"a volume of shape {volume_shape} holds no tile of shape {tile_shape}: pad it first")
    starts = [
        _axis_starts(length, size, size - shared)
        for length, size, shared in zip(volume_shape, tile_shape, overlap, strict=True)
    ]
    return [Tile(start, tile_shape) for start in product(*starts)]


def plan_slabs(
    shape: Sequence[int],
    order: Sequence[int] = (0, 1),
    multiples: Sequence[int] = (1, 1, 1),
    n_values: int | None = None,
) -> list[tuple[slice, ...]]:
    """Cut an array into slabs to be looked at one after the other.

    It is cut across one axis and, where a single layer of that is too large, across a second one.

    Parameters
    ----------
    shape : sequence of int
        Of the array, all of its axes.
    order : sequence of int
        Which axis to cut across and, unless it is the only one, which next; see ``storage_order``.
    multiples : sequence of int
        A slab has a multiple of so many voxels along each axis that is cut, the last one perhaps fewer.
    n_values : int, optional
        A slab holds no more values than this where that is possible; 2**22 if not given.

    Returns
    -------
    list of tuple of slice
        ``array[slab]`` of each, in order, is the whole array.
    """
    n_values = n_values or SLAB_VALUES
    axis, *others = order[:2]
    step = multiples[axis]
    layer = math.prod(shape) // max(1, shape[axis]) * min(step, shape[axis])
    length = max(1, n_values // max(1, layer)) * step
    starts = range(0, shape[axis], length)
    cuts = [(slice(None),) * axis + (slice(start, min(start + length, shape[axis])),) for start in starts]
    if not others or layer <= n_values:
        return cuts
    slabs = []
    for cut in cuts:
        sides = [len(range(*part.indices(side))) for part, side in zip(cut, shape, strict=False)]
        for other in plan_slabs((*sides, *shape[len(sides) :]), others, multiples, n_values):
            both = [slice(None)] * (max(axis, *others) + 1)
            both[axis], both[others[0]] = cut[axis], other[others[0]]
            slabs.append(tuple(both))
    return slabs


def storage_order(strides: Sequence[int]) -> tuple[int, ...]:
    """Return Z, Y, X (0, 1, 2) in the order that they are stored in, the slowest first.

    Cut across in this order, an array is read from memory or disk from its beginning to its end.
    """
    return tuple(sorted(range(3), key=lambda axis: -strides[axis]))


def spread(items: Sequence[T], n_items: int) -> list[T]:
    """Return the items, or ``n_items`` evenly spread among more, the first and the last being of them."""
    if len(items) <= n_items:
        return list(items)
    return [items[i * (len(items) - 1) // (n_items - 1)] for i in range(n_items)]


def shortened(shape: Sequence[int], n_voxels: int) -> tuple[int, ...]:
    """Return the largest shape of at most about ``n_voxels`` whose longest sides alone are shorter than the given ones.

    Parameters
    ----------
    shape : sequence of int
        Voxels along each axis.
    n_voxels : int
        Wanted at most.

    Returns
    -------
    tuple of int
        The shape itself where it holds no more; else no side is longer than the longest one may be.
    """
    low, high = 1, max(shape)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if math.prod(min(side, middle) for side in shape) <= n_voxels else (low, middle - 1)
    return tuple(min(side, low) for side in shape)


def padding_to(shape: Sequence[int], minimum: Sequence[int], multiple: int | Sequence[int] = 1) -> Padding:
    """Say how much padding brings a shape to at least a minimum and to a multiple.

    Parameters
    ----------
    shape : sequence of int
        Number of voxels along each axis, usually ZYX.
    minimum : sequence of int
        Least number of voxels wanted along each axis.
    multiple : int or sequence of int, default 1
        The padded number of voxels is a multiple of this, for all axes or for each.

    Returns
    -------
    tuple of (int, int)
        Voxels to add before and after along each axis, as `numpy.pad` takes them; of an odd number, the larger half
        comes after. Never more than needed.
    """
    multiples = (multiple,) * len(shape) if isinstance(multiple, int) else tuple(multiple)
    padding = []
    for length, least, step in zip(shape, minimum, multiples, strict=True):
        wanted = -(-max(length, least) // step) * step
        before = (wanted - length) // 2
        padding.append((before, wanted - length - before))
    return tuple(padding)


def crop_of(padding: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    """Return the slices which undo a padding.

    Parameters
    ----------
    padding : sequence of (int, int)
        Voxels added before and after along each axis, as `padding_to` returns them.

    Returns
    -------
    tuple of slice
        ``padded[crop_of(padding)]`` is the array before padding; further axes of the array are left whole.
    """
    return tuple(slice(before, -after if after else None) for before, after in padding)


def _axis_starts(length: int, size: int, step: int) -> list[int]:
    """Return the first voxels of the tiles along one axis, ascending."""
    last = length - size
    return [*range(0, last, step), last]


def _zyx(name: str, values: Sequence[int]) -> Shape:
    """Return three plain integers, so that a NumPy scalar from a caller never ends up in a plan."""
    if len(values) != 3:
        raise errors.OptionError(name, tuple(values), "give three whole numbers, for Z, Y, X")
    z, y, x = (int(value) for value in values)
    return z, y, x
