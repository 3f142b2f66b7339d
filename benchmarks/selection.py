"""Which label-free score finds the best epoch of a training: every score and Dice of every epoch, for several seeds.

python benchmarks/selection.py --data DATA -o runs --seeds 1 2

Trains on simulated stacks (three, and one held out) and, where DATA (or TFCYCLEGAN3D_DATA) has them, on one-class
stacks; keeps every epoch; scores the raw and the averaged weights of each; prints how each score ranks them (Spearman's
correlation with Dice) and how much Dice its favourite loses against the best epoch. The truth is only used for Dice.
What is in ``runs`` already is not made again. About six minutes a training and three to score it on two cores.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cases import REAL, SIMULATED, Case, case_of, names_of, parser_of
from scipy import ndimage
from scipy.stats import spearmanr

import tfcyclegan3d as tc
from tfcyclegan3d import config as configuration
from tfcyclegan3d import patches, preprocessing
from tfcyclegan3d.inference.stitching import predict_tiles
from tfcyclegan3d.synthesis.microscope import ANY
from tfcyclegan3d.training import monitors
from tfcyclegan3d.training.checkpoints import checkpoint_of, load_checkpoint
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.preparation import Prepared, prepare
from tfcyclegan3d.training.probes import one_by_one
from tfcyclegan3d.training.selection import agreement

USED = "agreement with all epochs"


def train_keeping_every_epoch(case: Case, seed: int, output: Path) -> None:
    """Train by the fast preset, unless that has been done."""
    if (output / "report.html").exists():
        return
    config = tc.presets.fast()
    config = config.replace(
        {
            "seed": seed,
            "synthesis.diameters": case.diameters,
            "training.keep_checkpoints": config.training.epochs,
        }
    )
    resume = (output / "config.json").exists()
    tc.train(case.images, None, None if resume else config, output, resume=resume, progress=False)


class Scorer:
    """Every score of a run's epochs."""

    def __init__(self, case: Case, run: Path) -> None:
        self._case, self._run = case, run
        config = configuration.load(run / "config.json")
        self._prepared: Prepared = prepare(case.images, None, config)
        self._trainer = CycleGANTrainer(self._prepared)
        self.config = self._prepared.config
        scored = preprocessing.downsample(case.scored[0].array, self.config.preprocessing.downsampling)
        bounds = preprocessing.stretch_bounds(scored, self.config.preprocessing.percentiles)
        self._scored = preprocessing.stretch(scored, bounds)
        self._noise = np.random.default_rng(1).standard_normal(self._trainer.probes.images.shape, dtype=np.float32)
        self._stored = self._trainer.beginning()

    def rows(self) -> list[dict]:
        """Return, for each epoch and kind of weights, Dice and every score; and what the run would have chosen."""
        own, rows = self._trainer.beginning(), []
        for epoch in range(1, self.config.training.epochs + 1):
            path = checkpoint_of(self._run / "checkpoints", epoch)
            load_checkpoint(path, self._trainer.state() | self._stored.variables())
            self._trainer.restored()
            predicted = self._trainer.predictions()
            used = own.selection.consider(epoch, predicted, sound=True, adversarial=self._trainer.is_adversarial)
            for which, masks in predicted.items():
                scores = {USED: used[which], **self._scores(which, masks)}
                row = {"epoch": epoch, "which": which, "dice": self._dice(which), "scores": scores}
                rows.append(row)
        best = own.selection.best
        for row in rows:
            row["chosen"] = (row["epoch"], row["which"]) == (best.epoch, best.which)
        return rows

    def _dice(self, which: str) -> float:
        """Return the mean Dice over classes of the whole scored stack."""
        to_mask, _ = self._trainer.candidates.forwards(which)
        inference, factors = self.config.inference, self.config.preprocessing.downsampling
        probabilities = predict_tiles(
            self._scored,
            lambda batch: (to_mask(batch) + 1) / 2,
            inference.tile_shape,
            (inference.overlap,) * 3,
            n_outputs=len(self.config.classes),
        )
        mask = preprocessing.upsample(probabilities, factors, self._case.scored[0].shape) > inference.threshold
        scores = tc.evaluate(tc.Volume(mask), tc.Volume(self._case.truths[0]), self.config.classes)
        return float(np.mean([score.dice for score in scores.values()]))

    def _scores(self, which: str, masks: np.ndarray) -> dict[str, float]:
        to_mask, to_image = self._trainer.candidates.forwards(which)
        probes, own = self._trainer.probes, masks > 0
        ways = self._disturbances()
        again = {name: undo(one_by_one(to_mask, do(probes.images[:2]))) > 0 for name, (do, undo) in ways.items()}
        some = probes.masks[:2]
        noised = np.clip(one_by_one(to_image, some) + 0.2 * self._noise[:2], -1, 1)
        drawn = probes.masks > 0
        statistics = {
            "fill like the masks": -_log_factor(own.mean((0, 1, 2, 3)), drawn.mean((0, 1, 2, 3))),
            "surface like the masks": -_log_factor(monitors.surface(own), monitors.surface(drawn)),
            "object size like the masks": -_log_factor(_object_size(own), _object_size(drawn)),
            "object count like the masks": -_log_factor(_object_count(own), _object_count(drawn)),
        }
        return {
            **{f"agreement under {name}": agreement(own[:2], mask) for name, mask in again.items()},
            "round trip mask, noised image, mask": agreement(some > 0, one_by_one(to_mask, noised) > 0),
            "rendered masks not trained on": self._rendered(to_mask),
            **statistics,
        }

    def _disturbances(self) -> dict[str, tuple[Callable, Callable]]:
        flips, shift = (1, 3), (3, -5, 2)

        def same(batch: np.ndarray) -> np.ndarray:
            return batch

        return {
            "flips": (lambda batch: np.flip(batch, flips), lambda batch: np.flip(batch, flips)),
            "shifts": (
                lambda batch: np.roll(batch, shift, (1, 2, 3)),
                lambda batch: np.roll(batch, [-one for one in shift], (1, 2, 3)),
            ),
            "noise": (lambda batch: np.clip(batch + 0.2 * self._noise[:2], -1, 1), same),
            "intensity": (lambda batch: 2 * ((batch + 1) / 2) ** np.float32(0.8) - 1, same),
        }

    def _rendered(self, to_mask: Callable[[np.ndarray], np.ndarray]) -> float:
        """Return the Dice on renderings, drawn apart from those trained on, of synthetic masks."""
        shape, seed = self.config.inference.tile_shape, (self.config.seed, 99)
        source = patches.RenderedPatches(
            self._prepared.objects, shape, ANY, self.config.preprocessing.percentiles, seed
        )
        pairs = [source.draw(4 * i) for i in range(2)]
        return float(np.mean([agreement(mask[None] > 0, to_mask(image[None]) > 0) for image, mask in pairs]))


def _log_factor(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean(np.abs(np.log((np.asarray(one) + 1e-5) / (np.asarray(other) + 1e-5)))))


def _object_size(masks: np.ndarray) -> np.ndarray:
    """Return the voxels of the object that a voxel of a mask (NZYXC) belongs to, on average, class by class."""
    return np.array([np.square(sizes).sum() / max(sizes.sum(), 1) for sizes in _sizes(masks)])


def _object_count(masks: np.ndarray) -> np.ndarray:
    return np.array([len(sizes) for sizes in _sizes(masks)], dtype=float)


def _sizes(masks: np.ndarray) -> list[np.ndarray]:
    return [
        np.concatenate([np.bincount(ndimage.label(mask[..., k])[0].ravel())[1:] for mask in masks]).astype(float)
        for k in range(masks.shape[-1])
    ]


def print_tables(runs: dict[tuple[str, int], list[dict]]) -> None:
    """Print what the choice gives on each run, and how each score does over all of them."""
    print("| stack | seed | best epoch | last epoch, averaged | chosen | which | lost |")
    print("| --- | ---: | ---: | ---: | ---: | --- | ---: |")
    found: dict[str, list[tuple[float, float]]] = {}
    for (name, seed), rows in runs.items():
        dice = np.array([row["dice"] for row in rows])
        last = max((row for row in rows if row["which"] == "averaged"), key=lambda row: row["epoch"])
        chosen = next(row for row in rows if row["chosen"])
        lost = dice.max() - chosen["dice"]
        which = f"epoch {chosen['epoch']}, {chosen['which']}"
        figures = f"{dice.max():.3f} | {last['dice']:.3f} | {chosen['dice']:.3f} | {which} | {lost:.3f}"
        print(f"| {name} | {seed} | {figures} |")
        found.setdefault("the choice of the run", []).append((np.nan, lost))
        found.setdefault("always the last epoch, averaged", []).append((np.nan, dice.max() - last["dice"]))
        for score in rows[0]["scores"]:
            values = np.array([row["scores"][score] for row in rows])
            correlation = spearmanr(values, dice)[0] if np.ptp(values) > 0 else 0.0
            found.setdefault(score, []).append((correlation, dice.max() - dice[values.argmax()]))
    print("\n| score | Spearman's correlation, mean | Dice lost, mean | Dice lost, worst |")
    print("| --- | ---: | ---: | ---: |")
    for score, pairs in sorted(found.items(), key=lambda entry: np.mean([lost for _, lost in entry[1]])):
        correlations, lost = zip(*pairs, strict=True)
        mean = "" if np.isnan(correlations).all() else f"{np.mean(correlations):.2f}"
        print(f"| {score} | {mean} | {np.mean(lost):.3f} | {max(lost):.3f} |")


def main() -> None:
    """Train, score and print."""
    parser = parser_of(__doc__, "selection-runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--stacks", nargs="+", choices=[*SIMULATED, *REAL], help="all that there are if not given")
    options = parser.parse_args()
    names = options.stacks or names_of(options.data)
    runs = {}
    for seed in options.seeds:
        for name in names:
            case = case_of(name, seed, options.data)
            output = options.output / f"{name.replace(', ', '-')}-{seed}"
            scores = output / "scores.json"
            if not scores.exists():
                train_keeping_every_epoch(case, seed, output)
                scores.write_text(json.dumps(Scorer(case, output).rows()))
            runs[name, seed] = json.loads(scores.read_text())
    print_tables(runs)


if __name__ == "__main__":
    main()
