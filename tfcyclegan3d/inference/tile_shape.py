"""How large tiles are: what fits into memory, in the shape that wastes least on their surroundings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from tfcyclegan3d.inference import blocks
from tfcyclegan3d.tiling import Shape

# Values that a layer at full resolution may have, 4 bytes each; a prediction holds a few such layers at a time.
LAYER_VALUES = 2**23
SIDES = (32, 48, 64, 96, 128, 192, 256)


def voxels_for(filters: int) -> int:
    """Return how many voxels a tile may have, for a network of so many filters at full resolution."""
    return LAYER_VALUES // max(filters, 8)


def least_work(shape: Sequence[int], halo: int, multiple: int, n_voxels: int) -> Shape:
    """Return the largest tile, of at most ``n_voxels``, by which the network sees the fewest voxels.

    Parameters
    ----------
    shape : sequence of int
        Of the volume on the networks' grid, ZYX.
    halo, multiple
        See ``blocks.plan_with_halo``.
    n_voxels : int
        Tiles have at least the smallest shape that leaves room for blocks, however few voxels that is.
    """
    halo, sides = blocks.rounded_halo(halo, multiple), []
    for side in shape:
        whole = -(-side // multiple) * multiple
        sides.append({*(length for length in SIDES if length < whole and length >= 2 * halo + multiple), whole})
    plans = (
        _cost(shape, largest, halo, multiple)
        for largest in itertools.product(*sides)
        if math.prod(largest) <= n_voxels or largest == tuple(map(min, sides))
    )
    return min(plans)[1]


def _cost(shape: Sequence[int], largest: Shape, halo: int, multiple: int) -> tuple[int, Shape]:
    """Return the voxels that the network sees, and the tile; of equal ones the smaller tile is less."""
    total = 1
    for side, most in zip(shape, largest, strict=True):
        length = -(-side // multiple) * multiple
        part, tile = blocks.equal_parts(length, most, halo, multiple)
        total *= -(-length // part) * tile
    return total, largest
