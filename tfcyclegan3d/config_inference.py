"""The section of a configuration that says how whole stacks are segmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tfcyclegan3d.strict import require


@dataclass(frozen=True)
class InferenceConfig:
    """How whole stacks are segmented.

    Parameters
    ----------
    statistics : {"stack", "tile"}
        Where instance normalisations take their means and variances from: patches from all over the stack, which makes
        the networks the same function everywhere, so that masks do not depend on tiles; or each tile by itself, as in
        the published code.
    halo : int
        With statistics of the stack: voxels of true surroundings that a tile has beyond what is kept of it. Tiles are
        as large as memory allows.
    tile_shape : (int, int, int)
        With statistics of the tile: Z, Y, X of a tile, in the voxels the networks see; multiples of 4. Monitors and
        scores of the training look at patches as large, too.
    overlap : int
        With statistics of the tile: voxels two tiles share along each axis.
    merge : {"mean", "maximum"}
        With statistics of the tile: what a voxel takes where tiles overlap: the mean of their probabilities, each the
        less the nearer a face of its tile, or the highest, which segments what any tile does.
    flips : {"none", "plane", "all"}
        Whether probabilities are means over those of a tile and its mirror images: along Y and X, which is four passes,
        or along Z, too, which is eight.
    threshold : float
        Probability above which a voxel belongs to an object.
    outline_levels : tuple of float, optional
        Written by a training (``match_diameters``): what probability of each class, on the stack's own grid, becomes
        one half, which moves its outlines; how sure the network is can still be told.
    """

    statistics: Literal["stack", "tile"] = "stack"
    halo: int = 16
    tile_shape: tuple[int, int, int] = (64, 64, 64)
    overlap: int = 16
    merge: Literal["mean", "maximum"] = "mean"
    flips: Literal["none", "plane", "all"] = "none"
    threshold: float = 0.5
    outline_levels: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        levels = self.outline_levels
        require(
            levels is None or all(0 < level <= 0.5 for level in levels),
            "inference.outline_levels",
            levels,
            "leave it out: a training writes it",
        )
        require(
            all(side >= 8 and side % 4 == 0 for side in self.tile_shape),
            "inference.tile_shape",
            self.tile_shape,
            "give three multiples of 4, each at least 8",
        )
        require(0 <= self.halo <= 64, "inference.halo", self.halo, "give 0 to 64 voxels")
        require(0 <= self.overlap < min(self.tile_shape), "inference.overlap", self.overlap, "give less than a tile")
        require(0 < self.threshold < 1, "inference.threshold", self.threshold, "give a value between 0 and 1")
