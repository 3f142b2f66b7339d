"""One stack's prediction, block by block: what is settled about the stack first, and what is made of each block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d import preprocessing, tiling
from tfcyclegan3d.config import Config
from tfcyclegan3d.inference import pipeline
from tfcyclegan3d.inference.blocks import Block, BlockPlan, inside, refined
from tfcyclegan3d.inference.reading import CoarseReader
from tfcyclegan3d.inference.stitching import Merger
from tfcyclegan3d.models.frozen import Statistics
from tfcyclegan3d.models.outputs import halved_at
from tfcyclegan3d.tiling import Shape, Tile

# Values of a layer at full resolution over all that statistics are taken from.
STATISTICS_VALUES = 2**24
# Voxels of a network's coarsest grid below which a variance says little.
LEAST_COARSEST = 64

Write = Callable[[Tile, np.ndarray], None]


@dataclass(frozen=True, eq=False)
class Settled:
    """What every block of a stack's prediction shares.

    Parameters
    ----------
    bounds : ndarray, shape (C, 2)
        Intensities that become -1 and 1.
    statistics : dict or None
        Of the network's normalisations (see ``FrozenNetwork``); None where each tile takes its own.
    plan : BlockPlan
        On the networks' grid.
    """

    bounds: np.ndarray
    statistics: Statistics | None
    plan: BlockPlan


def sample(reader: CoarseReader, config: Config, multiple: int) -> np.ndarray:
    """Return what normalisations take their statistics from, BZYXC float32.

    That is the whole stack, its ends reflected to multiples of ``multiple`` (a tiny one further, to a patch of the
    training), unless it is too large to be seen in one go: then patches from all over it, as large as those of the
    training, which settings, seed and shape choose.
    """
    filters, patch_shape = config.model.filters, config.training.patch_shape
    whole = tuple(-(-side // multiple) * multiple for side in reader.shape)
    if math.prod(whole) < LEAST_COARSEST * multiple**3:
        whole = tuple(
            max(side, -(-least // multiple) * multiple) for side, least in zip(whole, patch_shape, strict=True)
        )
    if math.prod(whole) * filters <= STATISTICS_VALUES:
        return reader.read(Tile((0, 0, 0), whole))[np.newaxis]
    most = max(1, STATISTICS_VALUES // (filters * math.prod(patch_shape)))
    padding = tiling.padding_to(reader.shape, patch_shape)
    padded = [side + sum(pads) for side, pads in zip(reader.shape, padding, strict=True)]
    tiles = tiling.plan_tiles(padded, patch_shape, (0, 0, 0))
    chosen = np.sort(np.random.default_rng(config.seed).permutation(len(tiles))[:most])
    moved = [
        Tile(tuple(a - before for a, (before, _) in zip(tiles[i].start, padding, strict=True)), patch_shape)
        for i in chosen.tolist()
    ]
    return np.stack([reader.read(tile) for tile in moved])


class Prediction:
    """Probabilities of a stack, block by block.

    Parameters
    ----------
    reader : CoarseReader
        The stack on the networks' grid.
    fine_shape : (int, int, int)
        Of the stack itself.
    config : Config
        Of the model.
    plan : BlockPlan
        The blocks.
    probabilities : callable
        From a batch BZYXC float32 in [-1, 1] to the same in [0, 1].
    n_channels : int
        Of what ``probabilities`` gives.
    """

    def __init__(
        self,
        reader: CoarseReader,
        fine_shape: Shape,
        config: Config,
        plan: BlockPlan,
        probabilities: Callable[[np.ndarray], np.ndarray],
        n_channels: int,
    ) -> None:
        self.plan = plan
        self.n_channels = n_channels
        self._reader, self._fine_shape, self._config = reader, fine_shape, config
        self._probabilities = probabilities

    def run(self, blocks: Iterable[Block], write: Write) -> None:
        """Hand each block's place in the stack and its probabilities, ZYXC float32 in [0, 1], to ``write``.

        Reading, computing and writing go on at the same time; ``write`` is called from one other thread.
        """
        pipeline.run(blocks, self._read, self._compute, lambda block, made: write(*self._refined(block, made)))

    def _read(self, block: Block) -> list[np.ndarray]:
        return [self._reader.read(tile) for tile in block.tiles]

    def _compute(self, block: Block, tiles: list[np.ndarray]) -> np.ndarray:
        """Return the probabilities of a block with its margin, on the networks' grid."""
        inference = self._config.inference
        if len(tiles) == 1:
            return self._probabilities(tiles[0][np.newaxis])[0][inside(block.merged, block.tiles[0])]
        merger = Merger(
            block.merged,
            self.n_channels,
            self.plan.tile_shape,
            (inference.overlap,) * 3,
            inference.merge,
        )
        for tile, values in zip(block.tiles, tiles, strict=True):
            merger.add(tile, self._probabilities(values[np.newaxis])[0])
        return merger.merged()

    def _refined(self, block: Block, made: np.ndarray) -> tuple[Tile, np.ndarray]:
        """Bring a block to the stack's own grid and cut the margin off."""
        factors = self._config.preprocessing.downsampling
        merged = refined(block.merged, factors, self._fine_shape)
        owned = refined(block.owned, factors, self._fine_shape)
        fine = np.clip(preprocessing.upsample(made, factors, merged.shape)[inside(owned, merged)], 0, 1)
        for k, level in enumerate(self._config.inference.outline_levels or ()):
            fine[..., k] = halved_at(level, fine[..., k])
        return owned, fine
