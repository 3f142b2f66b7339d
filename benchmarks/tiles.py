"""Whether larger batches or other tiles make a prediction faster: voxels a second of the network of preset ``fast``.

    python benchmarks/tiles.py --rounds 5

First tiles of one size in batches of one, two and four, the same voxels in each. Then the tiles that a stack of
``--shape``, on the network's grid, is divided into by ``tile_shape.least_work`` within the voxels that memory allows,
twice as many (more than ``predict`` takes), a half, a quarter and an eighth: one tile of each is timed, and what counts
is the stack's own voxels a second, since the halo of every tile is seen again by its neighbours. Rounds are
interleaved, and medians count; the processor's seconds, of all threads, tell more than the clock where other work runs.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from tfcyclegan3d import presets
from tfcyclegan3d.inference import blocks, tile_shape
from tfcyclegan3d.models.frozen import FrozenNetwork
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.models.strides import multiple_of
from tfcyclegan3d.precision import policy_for

N_CHANNELS = 2
SIDES, N_TILES, BATCHES = (32, 48, 64, 80), 4, (1, 2, 4)
SHARES = (1, 2, 1 / 2, 1 / 4, 1 / 8)


def timed(cases: dict, forward, n_rounds: int) -> dict:
    """Return the median seconds by the clock and of the processor for each case, (batches' shape, their number)."""
    tiles = {name: random_tiles(shape) for name, (shape, _) in cases.items()}
    for batch in tiles.values():
        forward(batch)
    turns = {name: [] for name in cases}
    for _ in range(n_rounds):
        for name, (_, n_batches) in cases.items():
            begun, computed = time.perf_counter(), time.process_time()
            for _ in range(n_batches):
                forward(tiles[name]).numpy()
            turns[name].append((time.perf_counter() - begun, time.process_time() - computed))
    return {name: np.median(pairs, axis=0) for name, pairs in turns.items()}


def random_tiles(shape: tuple[int, ...]) -> np.ndarray:
    """Return a batch BZYXC float32 in [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, (*shape, N_CHANNELS)).astype(np.float32)


def main() -> None:
    """Time and print."""
    import tensorflow as tf  # Here, since it must not come before the package.

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", default="31,1347,991", metavar="Z,Y,X", help="of the stack on the network's grid")
    parser.add_argument("--precision", default="auto", help="training.mixed_precision")
    options = parser.parse_args()
    config = presets.fast()
    network = resnet_generator(N_CHANNELS, N_CHANNELS, filters=config.model.filters, blocks=config.model.blocks)
    multiple, halo = multiple_of(network), config.inference.halo
    policy = policy_for(options.precision)
    frozen = FrozenNetwork(network, policy, tf.function)
    frozen.set_statistics(frozen.statistics_of(random_tiles((1, 32, 32, 32))))
    compiled = tf.function(lambda batch: frozen.folded(batch, training=False), reduce_retracing=True)

    def forward(batch):
        return compiled(tf.constant(batch))

    print(f"{config.model.filters} filters, {config.model.blocks} blocks, {N_CHANNELS} channels, {policy}\n")
    cases = {(side, n): ((n, side, side, side), N_TILES // n) for side in SIDES for n in BATCHES}
    print("| tile | batch | 1000 voxels a second | times a batch of 1 | a processor's second | times a batch of 1 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    found = timed(cases, forward, options.rounds)
    for (side, n), seconds in found.items():
        rates, ratios = N_TILES * side**3 / seconds / 1e3, found[side, 1] / seconds
        print(f"| {side}^3 | {n} | {rates[0]:.0f} | {ratios[0]:.2f} | {rates[1]:.0f} | {ratios[1]:.2f} |")

    shape = tuple(int(side) for side in options.shape.split(","))
    most, plans = tile_shape.voxels_for(config.model.filters), {}
    for share in SHARES:
        largest = tile_shape.least_work(shape, halo, multiple, int(most * share))
        plans[share] = blocks.plan_with_halo(shape, largest, halo, multiple)
    print(f"\n{' x '.join(map(str, shape))}, halo {halo}\n")
    print("| share | tile | tiles | seen for each kept | 1000 kept a second | times share 1 | processor's | times |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    found = timed({share: ((1, *plan.tile_shape), 1) for share, plan in plans.items()}, forward, options.rounds)
    kept = {share: math.prod(shape) / len(plan.blocks) / found[share] / 1e3 for share, plan in plans.items()}
    for share, plan in plans.items():
        n, rates, ratios = len(plan.blocks), kept[share], kept[share] / kept[1]
        name, seen = " x ".join(map(str, plan.tile_shape)), n * math.prod(plan.tile_shape) / math.prod(shape)
        print(f"| {share} | {name} | {n} | {seen:.2f} | {rates[0]:.0f} | {ratios[0]:.2f} ", end="")
        print(f"| {rates[1]:.0f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
