"""Numbering the objects of a stack of any size, block by block.

Each block is looked at with its surroundings, so that the hills in it are those of the whole stack. Basins are known by
the place of their hilltop, whichever block they are met in, and what is one object is settled for the whole stack
(`basins.Relief`). The result is that of `instances.label_objects`, but for objects that reach further beyond a block
than its surroundings (`margin`): these are seen in pieces, which are joined where they meet; and but for voxels just as
near to one hill as to the next.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d.objects.basins import Relief, find_basins, least_voxels
from tfcyclegan3d.objects.instances import MINIMUM_SHARE, VALLEY, check
from tfcyclegan3d.objects.landscape import landscape, reach
from tfcyclegan3d.tiling import Shape
from tfcyclegan3d.zarrs.chunks import Box

# Diameters beyond what a voxel's height depends on: how long a hill may be, from its top.
HILL = 1.5
# Voxels of a block with its surroundings, of which each takes some 50 bytes.
MOST_VOXELS = 2**24
# No estimate of a diameter makes blocks larger: one of a blob as wide as the stack would make each as large as that.
WIDEST = 2**26
SMALLEST_SIDE = 32

Read = Callable[[Box], np.ndarray]


@dataclass(frozen=True)
class _Face:
    """What a block leaves for the one behind it along an axis.

    ``numbers`` and ``heights`` are those of its last plane, ``beyond`` and ``heights_beyond`` those it sees in the
    plane behind that.
    """

    numbers: np.ndarray
    heights: np.ndarray
    beyond: np.ndarray
    heights_beyond: np.ndarray


def number_blocks(
    grades: Read,
    shape: Sequence[int],
    write: Callable[[Box, np.ndarray], None],
    *,
    diameter: float,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    centres: Read | None = None,
    minimum_share: float = MINIMUM_SHARE,
    valley: float = VALLEY,
    block_shape: Sequence[int] | None = None,
    on_block: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Give numbers to the objects of one class, and say which of the numbers are one object.

    Parameters
    ----------
    grades : callable
        From a box to its foreground and the core of that (uint8 ZYX, see `landscape.graded`); every voxel is read a few
        times.
    shape : (z, y, x)
        Of the stack.
    write : callable
        Takes a box and the basins' numbers in it (int32 ZYX), each voxel once.
    diameter, spacing, minimum_share, valley
        As `label_objects` takes them.
    centres : callable, optional
        From a box to the centres in it (float ZYX).
    block_shape : (z, y, x), optional
        Of the boxes that are written; `block_shape_for` if not given.
    on_block : callable, optional
        Called with (blocks done, blocks in all).

    Returns
    -------
    ndarray of int32
        For each number that was written, that of its object as `label_objects` gives it: index with what was written.
    """
    check(diameter, spacing, minimum_share, valley)
    shape = tuple(int(side) for side in shape)
    sides = tuple(block_shape or block_shape_for(shape, diameter, spacing))
    around = margin(diameter, spacing)
    relief = Relief()
    known: dict[int, int] = {}
    faces: dict[tuple[int, tuple[int, ...]], _Face] = {}
    blocks = list(_blocks(shape, sides))
    for n_done, (place, core) in enumerate(blocks, 1):
        whole = tuple(
            slice(max(0, part.start - more), min(side, part.stop + more))
            for part, more, side in zip(core, around, shape, strict=True)
        )
        inner = tuple(
            slice(part.start - wide.start, part.stop - wide.start) for part, wide in zip(core, whole, strict=True)
        )
        inside = grades(whole)
        if inside[inner].any():
            heights = landscape(inside, diameter, spacing, None if centres is None else centres(whole))
            seen = _seen(heights, inner, whole, shape, relief, known)
            numbers = seen[inner]
            relief.add_voxels(numbers)
            relief.add_passes(numbers, heights[inner])
        else:
            heights, seen = np.zeros(inside.shape, np.float32), np.zeros(inside.shape, np.int32)
            numbers = seen[inner]
        write(core, numbers)
        for axis in range(3):
            _meet(relief, faces.pop((axis, place), None), seen, heights, inner, axis)
            if core[axis].stop < shape[axis]:
                behind = tuple(index + (k == axis) for k, index in enumerate(place))
                faces[axis, behind] = _face(seen, heights, inner, axis)
        if on_block is not None:
            on_block(n_done, len(blocks))
    return relief.objects(valley, least_voxels(diameter, spacing, minimum_share, shape))


def margin(diameter: float, spacing: Sequence[float]) -> Shape:
    """Return how many voxels around a block are looked at, along Z, Y, X."""
    z, y, x = (
        near + int(np.ceil(HILL * diameter / side))
        for near, side in zip(reach(diameter, spacing), spacing, strict=True)
    )
    return z, y, x


def block_shape_for(
    shape: Sequence[int], diameter: float, spacing: Sequence[float], multiple: Sequence[int] = (1, 1, 1)
) -> Shape:
    """Return the largest blocks that fit into memory with their surroundings.

    Parameters
    ----------
    shape : (z, y, x)
        Of the stack.
    diameter, spacing
        As `label_objects` takes them.
    multiple : (z, y, x)
        Blocks that do not span the stack are multiples of it.
    """
    around = margin(diameter, spacing)
    sides = [int(side) for side in shape]

    def looked_at(axis: int, side: int) -> float:
        """Return how often a voxel is looked at because blocks are this long."""
        return -(-shape[axis] // side) * min(shape[axis], side + 2 * around[axis]) / shape[axis]

    while _n_seen(sides, shape, around) > MOST_VOXELS:
        # Whatever the blocks are cut along, they are seen with surroundings: along a short axis, with all of it.
        halves = {
            axis: -(-side // (2 * multiple[axis])) * multiple[axis]
            for axis, side in enumerate(sides)
            if side > max(SMALLEST_SIDE, multiple[axis])
        }
        if not halves:
            break
        axis = min(halves, key=lambda k: looked_at(k, halves[k]) / looked_at(k, sides[k]))
        sides[axis] = halves[axis]
    return sides[0], sides[1], sides[2]


def widest(shape: Sequence[int], spacing: Sequence[float], multiple: Sequence[int] = (1, 1, 1)) -> float:
    """Return the largest diameter for which blocks as `block_shape_for` makes them are no larger than ``WIDEST``.

    Infinite for a stack that is no larger itself.
    """
    if math.prod(shape) <= WIDEST:
        return math.inf
    diameter = float(max(length * side for length, side in zip(shape, spacing, strict=True)))
    smallest = [min(length, max(SMALLEST_SIDE, by)) for length, by in zip(shape, multiple, strict=True)]
    while diameter > 1 and _n_seen(smallest, shape, margin(diameter, spacing)) > WIDEST:
        diameter *= 0.9
    return diameter


def _n_seen(sides: Sequence[int], shape: Sequence[int], around: Sequence[int]) -> int:
    """Return the voxels of a block with its surroundings."""
    return math.prod(min(length, side + 2 * more) for length, side, more in zip(shape, sides, around, strict=True))


def _seen(
    heights: np.ndarray,
    inner: Box,
    whole: Box,
    shape: Shape,
    relief: Relief,
    known: dict[int, int],
) -> np.ndarray:
    """Return the number, in the whole stack, of every basin that a block and its surroundings hold; 0 for the others.

    Numbers are given to basins with voxels in the block.
    """
    basins = find_basins(heights)
    tops = basins.tops + np.array([part.start for part in whole])
    keys = np.ravel_multi_index(tuple(tops.T), shape).tolist() if len(tops) else []
    here = np.unique(basins.numbers[inner])
    for number in here[here > 0].tolist():
        if keys[number - 1] not in known:
            added = relief.add_basins(tops[number - 1 : number], basins.heights[number - 1 : number])
            known[keys[number - 1]] = int(added[0])
    lookup = np.zeros(len(keys) + 1, np.int32)
    lookup[1:] = [known.get(key, 0) for key in keys]
    return lookup[basins.numbers]


def _face(seen: np.ndarray, heights: np.ndarray, inner: Box, axis: int) -> _Face:
    last, behind = (_plane(inner, axis, inner[axis].stop - 1 + step) for step in (0, 1))
    return _Face(seen[last].copy(), heights[last].copy(), seen[behind].copy(), heights[behind].copy())


def _meet(relief: Relief, face: _Face | None, seen: np.ndarray, heights: np.ndarray, inner: Box, axis: int) -> None:
    """Add the passes between a block and the one before it along an axis."""
    if face is None:
        return
    first, before = (_plane(inner, axis, inner[axis].start - step) for step in (0, 1))
    numbers, before_numbers = seen[first], seen[before]
    relief.add_faces(face.numbers, numbers, np.minimum(face.heights, heights[first]))
    # A hill too wide to be seen whole has another top on each side: where both blocks see the same voxel and know
    # nothing of the other's basin, there are two names for one thing.
    one_sided = ~np.isin(face.beyond, seen) | ~np.isin(numbers, face.beyond)
    relief.add_faces(np.where(one_sided, face.beyond, 0), numbers, face.heights_beyond)
    one_sided = ~np.isin(face.numbers, seen)
    relief.add_faces(np.where(one_sided, face.numbers, 0), before_numbers, face.heights)


def _plane(inner: Box, axis: int, index: int) -> tuple[slice, ...]:
    return tuple(slice(index, index + 1) if k == axis else part for k, part in enumerate(inner))


def _blocks(shape: Shape, sides: Sequence[int]) -> Iterator[tuple[tuple[int, ...], Box]]:
    """Yield blocks with their places in the grid, in the order Z, Y, X."""
    counts = [range(-(-length // side)) for length, side in zip(shape, sides, strict=True)]
    for place in itertools.product(*counts):
        z, y, x = (
            slice(index * side, min((index + 1) * side, length))
            for index, side, length in zip(place, sides, shape, strict=True)
        )
        yield place, (z, y, x)
