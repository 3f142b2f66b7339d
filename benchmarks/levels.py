"""Could a level of probability be chosen without a truth? Levels that suit masks that are known, tried on the stack.

python benchmarks/levels.py --data DATA -o runs --configuration best --stacks 8-cell 1135 --seed 3

For each run of a configuration that ``runs`` holds (of accuracy.py) and each class: the level of probability at which
masks are best (Dice) on renderings of synthetic masks; on round trips, from such a mask to what ``mask_to_image`` makes
of it, with the noise of a training's cycles, and back; and on the first stack scored. Beside each stands the Dice
(precision, recall) of that stack at this level, and at one half; outlines as learned. The truth is used for scores, and
for the last level, which nobody could know.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accuracy import folder_of
from cases import REAL, SIMULATED, Case, case_of, parser_of

import tfcyclegan3d as tc
from tfcyclegan3d import config as configuration
from tfcyclegan3d import patches
from tfcyclegan3d.inference.predictor import SegmentationModel
from tfcyclegan3d.synthesis.microscope import ANY
from tfcyclegan3d.training.preparation import prepare

LEVELS = np.arange(0.05, 0.96, 0.05).round(2)
N_PATCHES = 64


def best_level(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the level at which masks have the highest Dice."""
    total = truth.sum()
    masks = [probabilities > level for level in LEVELS]
    return float(LEVELS[np.argmax([2 * (mask & truth).sum() / (mask.sum() + total) for mask in masks])])


def known_masks(run: Path, case: Case) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (probabilities, masks), NZYXC, of renderings and of round trips."""
    import keras  # Here, since TensorFlow must not come before the package.

    config = configuration.load(run / "config.json")
    objects = prepare(case.images, None, config).objects
    to_mask, to_image = (
        keras.saving.load_model(run / f"{name}.keras", compile=False) for name in ("image_to_mask", "mask_to_image")
    )
    shape, seed, percentiles = config.training.patch_shape, config.seed, config.preprocessing.percentiles
    source = patches.RenderedPatches(objects, shape, ANY, percentiles, (seed, 77), object_share=0.0)
    noise = np.random.default_rng((seed, 78))
    found: dict[str, list] = {"renderings": [], "round trips": []}
    for index in range(N_PATCHES):
        image, mask = source.draw(index)
        made = to_image.predict_on_batch(mask[np.newaxis])
        made += noise.normal(0, config.losses.cycle_noise, made.shape).astype(np.float32)
        for name, seen in (("renderings", image[np.newaxis]), ("round trips", made)):
            found[name].append(((to_mask.predict_on_batch(seen)[0] + 1) / 2, mask > 0))
    return {name: tuple(np.stack(some) for some in zip(*pairs, strict=True)) for name, pairs in found.items()}


def compare(run: Path, case: Case) -> None:
    """Print the rows of a run."""
    import keras

    config = configuration.load(run / "config.json").replace({"inference.outline_levels": None})
    network = keras.saving.load_model(run / "image_to_mask.keras", compile=False)
    stack = SegmentationModel(network, config).predict(case.scored[0]).array
    known = known_masks(run, case) | {"the stack's truth": (stack, case.truths[0])}
    for k, kind in enumerate(config.classes):
        levels = {"one half": 0.5} | {name: best_level(p[..., k], mask[..., k]) for name, (p, mask) in known.items()}
        for name, level in levels.items():
            of_class = tc.Volume(stack[..., k : k + 1] > level), tc.Volume(case.truths[0][..., k : k + 1])
            (found,) = tc.evaluate(*of_class, [kind]).values()
            score = f"{found.dice:.3f} ({found.precision:.2f}, {found.recall:.2f})"
            print(f"| {run.parent.name} | {kind} | {name} | {level:g} | {score} |", flush=True)


def main() -> None:
    """Score and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--configuration", default="fast")
    parser.add_argument("--stacks", nargs="+", choices=[*SIMULATED, *REAL], required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| run | class | level best on | level | Dice on the stack |")
    print("| --- | --- | --- | ---: | --- |")
    for name in options.stacks:
        run = folder_of(options.output, options.configuration, name, options.seed) / "run"
        compare(run, case_of(name, options.seed, options.data))


if __name__ == "__main__":
    main()
