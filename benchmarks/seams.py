"""How much masks depend on tiles, and what that costs or gains in Dice: statistics of the tile or of the stack, halos.

Each model segments the stack it was trained on by two grids of tiles, the second one shifted and of smaller tiles;
truth is used for scores alone.

    python benchmarks/seams.py --data DATA --run 8-cell=RUN --run 1135=RUN
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cases
import numpy as np

from tfcyclegan3d.evaluation.overlap import evaluate
from tfcyclegan3d.inference.predictor import SegmentationModel, load_model
from tfcyclegan3d.inference.seams import other_plan
from tfcyclegan3d.sources import open_source
from tfcyclegan3d.volumes import Volume

TILE = (64, 64, 64)
WAYS = {
    "of the tile": {"inference.statistics": "tile"},
    **{f"of the stack, halo {halo}": {"inference.statistics": "stack", "inference.halo": halo} for halo in (4, 8, 16)},
}


def masks(model: SegmentationModel, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks of a stack (ZYXC bool) by two grids of tiles."""
    source = open_source(volume)
    of_tile = model.config.inference.statistics == "tile"
    settled = model.settle(source, None if of_tile else TILE)
    found = []
    for plan in (settled.plan, other_plan(model, settled.plan)):
        mask = np.zeros((*volume.shape, len(model.classes)), bool)

        def write(place, values, mask=mask):
            mask[place.slices] = values > model.config.inference.threshold

        model.prediction(source, type(settled)(settled.bounds, settled.statistics, plan)).run(plan.blocks, write)
        found.append(mask)
    return found[0], found[1]


def main() -> None:
    """Print a row for each stack and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--run", action="append", required=True, metavar="CASE=RUN")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated stacks")
    options = parser.parse_args()
    print("| stack | statistics | Dice | differs, of the stack | of the mask |")
    print("| --- | --- | --- | ---: | ---: |")
    for text in options.run:
        name, _, run = text.partition("=")
        case = cases.case_of(name, options.seed, options.data)
        for way, changes in WAYS.items():
            model = load_model(run, {**changes, "inference.flips": "none"})
            one, other = masks(model, case.scored[0])
            scores = evaluate(Volume(one), Volume(case.truths[0]), model.classes)
            dice = " / ".join(f"{scores[label].dice:.3f}" for label in model.classes)
            differing = (one != other).sum()
            print(
                f"| {name} | {way} | {dice} | {differing / one.size:.3%} | {differing / max(1, one.sum()):.2%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
