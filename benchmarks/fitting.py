"""How well a prior is fitted to unlabelled stacks: errors on simulated stacks, and what is found in others.

python benchmarks/fitting.py                                      # the table of simulated stacks
python benchmarks/fitting.py --images *.tif --pictures pictures   # each stack beside masks drawn from its fit
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfcyclegan3d import NUCLEI_AND_GOLGI, ObjectPrior, Prior, fit_prior, prior_for, read_volume
from tfcyclegan3d.synthesis.classes import classes_of
from tfcyclegan3d.synthesis.masks import synthesize_scene
from tfcyclegan3d.synthesis.microscope import CLEAN, HARD
from tfcyclegan3d.synthesis.pictures import draw_beside
from tfcyclegan3d.synthesis.simulation import simulate_stack

# Not the seed that the measurement's constants were chosen on.
SEED = 20_261_122
SHAPE = (56, 256, 256)


def simulated_cases() -> Iterator[tuple[str, Prior, tuple[float, float, float] | None]]:
    """Give names, priors and voxel sizes of stacks to fit."""
    yield "the paper's pairs", NUCLEI_AND_GOLGI, None
    yield "round, 10 across, 5 % full", prior_for({"nuclei": 10.0}, 0.05), None
    yield "round, 16 across, 12 % full", prior_for({"nuclei": 16.0}, 0.12), None
    yield "round, 18 across, 2 % full", prior_for({"nuclei": 18.0}, 0.02), None
    yield "round, 24 across, 15 % full", prior_for({"nuclei": 24.0}, 0.15), None
    long = ObjectPrior("nuclei", "ellipsoid", ((14, 18), (6, 8), (6, 8)), fill_fraction=(0.08, 0.08))
    yield "long, any direction, 8 % full", Prior((long,), orientation="any"), None
    in_um = dataclasses.replace(prior_for({"nuclei": 8.0}, 0.1, unit="um"), minimum_gap=0.5)
    yield "8 um in voxels of 0.8 x 0.5 x 0.5 um", in_um, (0.8, 0.5, 0.5)


def table_of_simulated() -> None:
    """Print truth and estimate of every case under two microscopes."""
    print("| stack | microscope | class | diameter, truth | found | count, truth | found | confidence |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, prior, voxel_size_um in simulated_cases():
        for microscope_name, microscope in (("clean", CLEAN), ("hard", HARD)):
            stack = simulate_stack(SHAPE, prior, microscope, SEED, voxel_size_um=voxel_size_um)
            for found in fit_prior([stack.image], prior.class_names).classes:
                drawn = [one for one in stack.truth.table if one.class_name == found.name]
                diameter = np.median([2 * np.cbrt(np.prod(one.semi_axes)) for one in drawn])
                print(
                    f"| {name} | {microscope_name} | {found.name} | {diameter:.1f} | {found.diameter:.1f} "
                    f"({found.diameter / diameter - 1:+.0%}) | {len(drawn)} | {found.counts[0]:.0f} "
                    f"({found.counts[0] / len(drawn) - 1:+.0%}) | {found.confidence:.2f} |",
                    flush=True,
                )


def table_of_images(
    paths: Sequence[Path], axes: str | None, voxel_size: str | None, classes: Sequence[str] | None, folder: Path | None
) -> None:
    """Print what is found in each stack, and write it beside masks drawn from its fit."""
    print("| stack | found |\n| --- | --- |")
    size = tuple(float(side) for side in voxel_size.split(",")) if voxel_size else None
    for path in paths:
        volume = read_volume(path, axes, voxel_size_um=size)
        fit = fit_prior([volume], classes or classes_of(volume))
        print(f"| {volume.name} | {'<br>'.join(fit.lines)} |", flush=True)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            scene = synthesize_scene(volume.shape, fit.prior, 0, volume.voxel_size_um)
            draw_beside(volume, scene).savefig(folder / f"{volume.name}.png", dpi=60)


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", nargs="+", type=Path, help="stacks of one's own, in place of simulated ones")
    parser.add_argument("--axes", help="of the stacks, where they do not say")
    parser.add_argument("--voxel-size", help="of the stacks in um, as 1.0,0.5,0.5, where they do not say")
    parser.add_argument("--classes", help="of their channels, as golgi,nuclei")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each")
    options = parser.parse_args()
    if options.images:
        classes = options.classes.split(",") if options.classes else None
        table_of_images(options.images, options.axes, options.voxel_size, classes, options.pictures)
    else:
        table_of_simulated()


if __name__ == "__main__":
    main()
