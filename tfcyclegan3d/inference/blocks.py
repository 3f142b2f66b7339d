"""Which part of a volume each step of a prediction makes, and which tiles it takes: integers only.

Blocks are disjoint and cover the volume. Each can be made without the others, in any order and on any machine, and the
result is the same: a stack that streams from disk to disk is segmented exactly as one in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from tfcyclegan3d import errors, tiling
from tfcyclegan3d.tiling import Shape, Tile

# Voxels beyond a block's own that linear interpolation to a finer grid looks at.
MARGIN = 1


@dataclass(frozen=True)
class Block:
    """A part of a volume, and the tiles that make it.

    Parameters
    ----------
    owned : Tile
        What belongs to this block alone, within the volume.
    merged : Tile
        The same with a margin that belongs to the neighbours, cut off at the volume's faces.
    tiles : tuple of Tile
        What the network sees; they may reach beyond the volume, which is reflected there.
    """

    owned: Tile
    merged: Tile
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class BlockPlan:
    """The blocks of a volume on a regular grid.

    Parameters
    ----------
    shape : (int, int, int)
        Of the volume, ZYX.
    block_shape : (int, int, int)
        Of a block; the last ones along each axis may be smaller, and with an ``offset`` the first ones, too.
    tile_shape : (int, int, int)
        Of every tile.
    blocks : tuple of Block
        In the order Z, Y, X.
    """

    shape: Shape
    block_shape: Shape
    tile_shape: Shape
    blocks: tuple[Block, ...]


def plan_with_halo(
    shape: Sequence[int], largest: Sequence[int], halo: int, multiple: int, offset: Sequence[int] = (0, 0, 0)
) -> BlockPlan:
    """Give each block one tile, which reaches ``halo`` voxels beyond it except where the volume ends.

    An axis is divided into as few equal blocks as tiles of at most ``largest`` allow. Tiles begin at multiples of
    ``multiple``, as strided convolutions see the same voxels then wherever a tile begins; only the end of the volume
    is reflected, by fewer voxels than that.

    Parameters
    ----------
    shape : sequence of int
        Of the volume, ZYX.
    largest : sequence of int
        What no tile exceeds along Z, Y, X.
    halo : int
        Voxels of true surroundings on each side of a block.
    multiple : int
        Sides of tiles and blocks are multiples of it.
    offset : sequence of int
        Shift of the grid: the first block of an axis is so long, if that is above 0. Multiples of ``multiple``.

    Raises
    ------
    OptionError
        Where a tile would be all halo.
    """
    halo = rounded_halo(halo, multiple)
    padded = [_up(side, multiple) for side in shape]
    cuts, sides, lengths = [], [], []
    for length, most, first in zip(padded, largest, offset, strict=True):
        side, tile = equal_parts(length, most // multiple * multiple, halo, multiple, shifted=first > 0)
        sides.append(side)
        lengths.append(tile)
        cuts.append([0, *range(first % side or side, length, side), length])
    grid = _blocks(shape, cuts)
    blocks = []
    for owned in grid:
        starts = (
            min(max(start - halo, 0), length - tile)
            for start, length, tile in zip(owned.start, padded, lengths, strict=True)
        )
        blocks.append(Block(owned, _grown(owned, shape), (Tile(tuple(starts), tuple(lengths)),)))
    return BlockPlan(tuple(shape), tuple(sides), tuple(lengths), tuple(blocks))


def plan_overlapping(
    shape: Sequence[int], tile_shape: Sequence[int], overlap: Sequence[int], tiles_per_side: int = 4
) -> BlockPlan:
    """Cover a volume with overlapping tiles (``tiling.plan_tiles``), of which each block takes all that touch it.

    Parameters
    ----------
    shape : sequence of int
        Of the volume, ZYX; one smaller than a tile is reflected on both sides.
    tile_shape : sequence of int
        Of every tile.
    overlap : sequence of int
        Voxels shared by neighbouring tiles.
    tiles_per_side : int
        About so many tiles make a side of a block. Those that touch several blocks are made for each.

    Raises
    ------
    OptionError
        If tile and overlap do not go together.
    """
    padding = tiling.padding_to(shape, tile_shape)
    padded = [side + sum(pads) for side, pads in zip(shape, padding, strict=True)]
    tiles = tiling.plan_tiles(padded, tile_shape, overlap)
    starts = [sorted({tile.start[axis] - before for tile in tiles}) for axis, (before, _) in enumerate(padding)]
    sides = [
        min(side, tiles_per_side * (size - shared))
        for side, size, shared in zip(shape, tile_shape, overlap, strict=True)
    ]
    cuts = [[*range(0, length, side), length] for length, side in zip(shape, sides, strict=True)]
    blocks = []
    for owned in _blocks(shape, cuts):
        merged = _grown(owned, shape)
        touching = (
            [a for a in along if a < stop and a + size > start]
            for along, size, start, stop in zip(starts, tile_shape, merged.start, merged.stop, strict=True)
        )
        blocks.append(Block(owned, merged, tuple(Tile(start, tuple(tile_shape)) for start in product(*touching))))
    return BlockPlan(tuple(shape), tuple(sides), tuple(tile_shape), tuple(blocks))


def common(one: Tile, other: Tile) -> Tile | None:
    """Return the voxels that two boxes share, None where there are none."""
    start = tuple(max(a, b) for a, b in zip(one.start, other.start, strict=True))
    stop = tuple(min(a, b) for a, b in zip(one.stop, other.stop, strict=True))
    if any(a >= b for a, b in zip(start, stop, strict=True)):
        return None
    return Tile(start, tuple(b - a for a, b in zip(start, stop, strict=True)))


def inside(part: Tile, whole: Tile) -> tuple[slice, slice, slice]:
    """Return the slices that cut ``part`` out of an array of ``whole``."""
    z, y, x = (slice(a - b, a - b + side) for a, b, side in zip(part.start, whole.start, part.shape, strict=True))
    return z, y, x


def refined(tile: Tile, factors: Sequence[int], shape: Sequence[int]) -> Tile:
    """Return the voxels of a grid finer by ``factors`` that a box covers, within a fine volume of ``shape``."""
    start = tuple(a * factor for a, factor in zip(tile.start, factors, strict=True))
    stop = tuple(min(b * factor, side) for b, factor, side in zip(tile.stop, factors, shape, strict=True))
    return Tile(start, tuple(b - a for a, b in zip(start, stop, strict=True)))


def rounded_halo(halo: int, multiple: int) -> int:
    """Return the halo that tiles really have: a multiple, and never less than what is merged."""
    return _up(max(halo, MARGIN), multiple)


def equal_parts(length: int, most: int, halo: int, multiple: int, *, shifted: bool = False) -> tuple[int, int]:
    """Return the sides of blocks and tiles along an axis: as few blocks as tiles of at most ``most`` voxels allow.

    All are multiples of ``multiple``. A ``shifted`` grid has one block more.
    """
    if length <= most:
        return length, length
    if most < 2 * halo + multiple:
        needed = 2 * halo + multiple
        raise errors.OptionError(
            "tile shape",
            most,
            f"give at least {needed} voxels, of which {2 * halo} are halo, or a smaller inference.halo",
        )
    for n_parts in range(2, length // multiple + 1):
        side = _up(math.ceil(length / n_parts), multiple)
        # The first and the last tile need a halo on one side only.
        tile = min(length, side + (halo if n_parts == 2 and not shifted else 2 * halo))
        if tile <= most:
            return side, tile
    raise AssertionError("unreachable: blocks of one multiple fit")


def _blocks(shape: Sequence[int], cuts: Sequence[Sequence[int]]) -> Iterator[Tile]:
    """Yield the boxes between the cuts along each axis, within the volume."""
    spans = [
        [(a, min(b, side)) for a, b in pairwise(along) if a < side] for along, side in zip(cuts, shape, strict=True)
    ]
    for spans_of_one in product(*spans):
        yield Tile(tuple(a for a, _ in spans_of_one), tuple(b - a for a, b in spans_of_one))


def _grown(owned: Tile, shape: Sequence[int]) -> Tile:
    start = tuple(max(a - MARGIN, 0) for a in owned.start)
    stop = tuple(min(b + MARGIN, side) for b, side in zip(owned.stop, shape, strict=True))
    return Tile(start, tuple(b - a for a, b in zip(start, stop, strict=True)))


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
