"""How accurate configurations are: Dice, precision and recall for several stacks and seeds, beside thresholds.

python benchmarks/accuracy.py --data DATA -o runs --configurations fast "fast, no flips" --seeds 1 2 3

Trains each configuration on each case (see cases.py) with each seed and scores what the finished run predicts: three
held-out stacks of the simulated cases, the same stack of the others. A training is told the diameter of the objects of
one-class stacks, and nothing of simulated ones. Its averaged weights at the last epoch before the adversarial part are
scored, too, with outlines as learned. The truth is used for scores only, but for "ceiling": the networks and the length
of ``fast``, trained on the truth of the stacks trained on, and normalising each tile by itself, as they learned to.
"ceiling, other half" trains on the truth of the left or the right half of a one-class stack, segments the other half
with it, and scores both together: what annotations are worth where networks cannot know them by heart. "ceiling, best"
is the first with the networks and the length of ``best``.

Rows are kept in ``accuracy.csv`` beside this script (``--rows``) as soon as they are measured, and are not measured
again; an interrupted training goes on where it was: call the same command again. ``--list`` names the configurations;
``--table`` prints what there is without training anything.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accuracy_rows import MEASURES, Rows, table
from cases import REAL, SIMULATED, Case, case_of, names_of, parser_of
from variants import variant_of

import tfcyclegan3d as tc
from tfcyclegan3d import patches, preprocessing
from tfcyclegan3d.config import Config
from tfcyclegan3d.inference.predictor import SegmentationModel
from tfcyclegan3d.synthesis.classes import classes_of
from tfcyclegan3d.training.checkpoints import checkpoint_of, read_arrays
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.preparation import prepare

N_HELD_OUT = 3
THRESHOLDS = {"Otsu": 0.0, "smoothed Otsu": 1.0}
CEILING = "ceiling"
OTHER_HALF = "ceiling, other half"
LONG_CEILING = "ceiling, best"
AFTER_START = "{}, before its adversarial part"
START_ALONE = {"training.start_fraction": 1.0}
# A CycleGAN of the size and as many steps as fast, with the rate of the CycleGAN paper; the losses are those of fast.
NO_START = {
    "training.start_fraction": 0.0,
    "losses.supervised": 0.0,
    "losses.supervised_end": 0.0,
    "training.generator_learning_rate": 2e-4,
}
# Preset and changes of each: what the name says, and what goes with it. See variants.py, too.
CONFIGURATIONS: dict[str, tuple[str, Mapping[str, object]]] = {
    "fast": ("fast", {}),
    "best": ("best", {}),
    "best, a long adversarial part": ("best", {"training.start_fraction": 0.7}),
    "best, half as long a start": ("best", {"training.epochs": 22, "training.start_fraction": 0.82}),
    "fast, patches anywhere, outlines as learned": (
        "fast",
        {"training.object_share": 0.0, "training.match_diameters": False},
    ),
    "fast, patches anywhere": ("fast", {"training.object_share": 0.0}),
    "fast, outlines as learned": ("fast", {"training.match_diameters": False}),
    "fast, fading to the end of the start": ("fast", {"losses.foreground_fade": 1.0}),
    "fast, fading less": ("fast", {"losses.foreground_power": 0.6}),
    "fast, all of it as a start": ("fast", START_ALONE),
    "fast, told nothing": ("fast", {"synthesis.diameters": None}),
    "fast, no start": ("fast", NO_START | {"losses.foreground_weights": [1.0]}),
    "fast, no start, object voxels weighing more": ("fast", NO_START),
    "fast, no start, saliency": ("fast", NO_START),
    "fast, saliency": ("fast", {}),
    "fast, object voxels weighing no more": ("fast", {"losses.foreground_weights": [1.0]}),
    "fast, no noise in cycles": ("fast", {"losses.cycle_noise": 0.0}),
    "fast, weights not averaged": ("fast", {"training.average_momentum": 0.0}),
    "fast, critics as slow": ("fast", {"training.critic_learning_rate": 1e-4}),
    "fast, critics without normalisation": ("fast", {"model.critic_normalization": "none"}),
    "fast, spectral norm": ("fast", {"model.critic_normalization": "none"}),
    "fast, a blur as mask_to_image": ("fast", {}),
    "fast, noise beside masks": ("fast", {}),
    "fast, no flips": ("fast", {"inference.flips": "none"}),
    "fast, L1 of cycled masks": ("fast", {"losses.cycle_mask": "l1", "losses.cycle": 10.0}),
    "fast, mask critic as strong": ("fast", {"losses.adversarial_mask": None}),
    "fast, ends of 3 voxels": ("fast", {"model.end_kernel": 3}),
    "fast, objects of 12 voxels": ("fast", {"preprocessing.working_diameter": 12.0}),
    # Its steps are cheaper: as many minutes as fast.
    "fast, no normalisation, more steps": (
        "fast",
        {
            "model.normalization": "none",
            "model.mask_to_image_normalization": "instance",
            "training.epochs": 24,
            "training.steps_per_epoch": 120,
            "training.start_fraction": 0.9,
        },
    ),
}

Scores = dict[str, dict[str, float]]


def scores_of(masks: Sequence[np.ndarray], case: Case, classes: Sequence[str]) -> Scores:
    """Return Dice, precision and recall by class, means over the scored stacks."""
    found = [
        tc.evaluate(tc.Volume(mask), tc.Volume(truth), classes) for mask, truth in zip(masks, case.truths, strict=True)
    ]
    return {
        name: {measure: float(np.mean([getattr(one[name], measure) for one in found])) for measure in MEASURES}
        for name in classes
    }


def folder_of(output: Path, configuration: str, name: str, seed: int | str) -> Path:
    """Return where the run of a configuration, a case and a seed is."""
    return output / "-".join(configuration.replace(",", "").split()) / f"{name.replace(', ', '-')}-{seed}"


def take_averages(network, checkpoint: Path) -> None:
    """Give an ``image_to_mask`` the averaged weights of a checkpoint."""
    averages = read_arrays(checkpoint, ("average",))["average"]
    for variable, average in zip(network.trainable_variables, averages, strict=False):
        variable.assign(average)


def ended(run: Path) -> bool:
    """Tell whether a training has come to its end, good or bad."""
    manifest = run / "manifest.json"
    return manifest.exists() and json.loads(manifest.read_text())["verdict"] not in ("running", "interrupted")


def train_and_score(case: Case, config: Config, run: Path) -> dict:
    """Train (on), and return what was found.

    An interrupted training ends the program, and goes on when it is called again.
    """
    if not ended(run):
        resume = (run / "config.json").exists()
        tc.train(case.images, None, None if resume else config, run, resume=resume, progress=False)
        if not ended(run):
            raise SystemExit(f"{run}: interrupted; call the same command again")
    manifest = json.loads((run / "manifest.json").read_text())
    model = tc.load_model(run)
    masks = [model.segment(volume).array for volume in case.scored]
    found = {
        "classes": scores_of(masks, case, model.classes),
        "minutes": manifest["timings"]["total_minutes"],
        "verdict": manifest["verdict"],
    }
    before = model_after_start(run, model.config)
    if before is not None:
        masks = [before.segment(volume).array for volume in case.scored]
        found["after_start"] = scores_of(masks, case, model.classes)
    return found


def model_after_start(run: Path, config: Config) -> SegmentationModel | None:
    """Return what a run had learned when its adversarial part began, where there was something and it was kept."""
    import keras  # Here, since TensorFlow must not come before the package.

    epoch = int(config.training.start_fraction * config.training.epochs)
    checkpoint = checkpoint_of(run / "checkpoints", epoch)
    if checkpoint is None or not 0 < config.training.start_fraction < 1 or config.training.average_momentum == 0:
        return None
    network = keras.saving.load_model(run / "image_to_mask.keras", compile=False)
    take_averages(network, checkpoint)
    return SegmentationModel(network, config.replace({"inference.outline_levels": None}))


def trained_on_truth(images: Sequence[tc.Volume], truths: Sequence[np.ndarray], config: Config) -> SegmentationModel:
    """Return the same network trained on the truth."""
    # What such networks learn by heart, they learn by the statistics of patches.
    own_statistics = {"inference.statistics": "tile", "inference.tile_shape": config.training.patch_shape}
    config = config.replace(START_ALONE | own_statistics)
    prepared = prepare(images, None, config)
    factors = prepared.config.preprocessing.downsampling
    coarse = [preprocessing.downsample(truth, factors) for truth in truths]
    pairs = patches.PairedPatches(prepared.images, coarse, config.training.patch_shape, (config.seed, 21))
    trainer = CycleGANTrainer(prepared, pairs=pairs)
    n_steps = config.training.epochs * config.training.steps_per_epoch
    for index in range(n_steps):
        trainer.step(index, index / n_steps)
    return SegmentationModel(trainer.present_networks()[0], prepared.config)


def masks_by_heart(case: Case, config: Config) -> list[np.ndarray]:
    """Return what a network trained on the truth of the stacks trained on makes of those scored."""
    model = trained_on_truth(case.images, case.trained_truths, config)
    return [model.segment(volume).array for volume in case.scored]


def halves_of(array: np.ndarray) -> list[np.ndarray]:
    """Return the left and the right half of a stack, ZYXC."""
    middle = array.shape[2] // 2
    return [array[:, :, :middle], array[:, :, middle:]]


def masks_by_other_halves(case: Case, config: Config) -> list[np.ndarray]:
    """Return a one-class stack's mask, each half made by a network trained on the truth of the other."""
    (volume,), (truth,) = case.images, case.trained_truths
    images = [tc.Volume(half, volume.voxel_size_um, volume.name) for half in halves_of(volume.array)]
    left, right = (
        trained_on_truth([image], [known], config) for image, known in zip(images, halves_of(truth), strict=True)
    )
    # The stack as a whole, so that no half ends in reflections of itself.
    halves = halves_of(right.segment(volume).array)[0], halves_of(left.segment(volume).array)[1]
    return [np.concatenate(halves, axis=2)]


# By which preset's networks and length, and how.
ON_TRUTH = {
    CEILING: ("fast", masks_by_heart),
    OTHER_HALF: ("fast", masks_by_other_halves),
    LONG_CEILING: ("best", masks_by_heart),
}


def version() -> str:
    """Return the package's version, with the commit it is at where git knows one."""
    done = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{tc.__version__} {done.stdout.strip()}".strip()


def measure(configuration: str, name: str, seed: int, data: Path | None, output: Path, rows: Rows) -> None:
    """Train and score, and add the rows."""
    case = case_of(name, seed, data, N_HELD_OUT)
    if configuration in THRESHOLDS:
        masks = [tc.otsu_mask(volume.array, THRESHOLDS[configuration]) for volume in case.scored]
        found = {"classes": scores_of(masks, case, classes_of(case.images[0])), "verdict": "finished"}
    else:
        preset, changes = CONFIGURATIONS.get(configuration) or (ON_TRUTH[configuration][0], {})
        config = tc.presets.by_name(preset).replace(
            {"seed": seed, "synthesis.diameters": case.diameters, "training.keep_checkpoints": 100, **changes}
        )
        if configuration in ON_TRUTH:
            begun = time.monotonic()
            masks = ON_TRUTH[configuration][1](case, config)
            minutes = (time.monotonic() - begun) / 60
            scores = scores_of(masks, case, classes_of(case.images[0]))
            found = {"classes": scores, "minutes": minutes, "verdict": "finished"}
        else:
            folder = folder_of(output, configuration, name, seed)
            folder.mkdir(parents=True, exist_ok=True)
            with variant_of(configuration):
                found = train_and_score(case, config, folder / "run")
    how = {"verdict": found["verdict"], "version": version()}
    if "after_start" in found:
        rows.add(name, AFTER_START.format(configuration), seed, found["after_start"], minutes=None, **how)
    rows.add(name, configuration, seed, found["classes"], minutes=found.get("minutes"), **how)


def main() -> None:
    """Train, score and print."""
    known = [*THRESHOLDS, *ON_TRUTH, *CONFIGURATIONS]
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=Path, default=Path(__file__).with_name("accuracy.csv"))
    parser.add_argument("--configurations", nargs="+", choices=known, default=known, metavar="NAME")
    parser.add_argument("--stacks", nargs="+", choices=[*SIMULATED, *REAL], help="all that there are if not given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--list", action="store_true", help="print the names of the configurations")
    parser.add_argument("--table", action="store_true", help="print the table of what has been measured")
    options = parser.parse_args()
    if options.list:
        print("\n".join(known))
        return
    names, rows = options.stacks or names_of(options.data), Rows(options.rows)
    if not options.table:
        for seed in options.seeds:
            for configuration in options.configurations:
                for name in names:
                    if configuration == OTHER_HALF and name in SIMULATED:
                        continue  # They are scored on stacks held out, by the ceiling already.
                    if not rows.of(name, configuration, seed):
                        measure(configuration, name, seed, options.data, options.output, rows)
                    dice = ", ".join(f"{row.kind} {row.dice:.3f}" for row in rows.of(name, configuration, seed))
                    print(f"{configuration}, {name}, seed {seed}: {dice}", flush=True)
    shown = [each for one in options.configurations for each in (one, AFTER_START.format(one))]
    print("\n".join(table(rows, names, shown)))


if __name__ == "__main__":
    main()
