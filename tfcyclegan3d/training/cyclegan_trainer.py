"""A CycleGAN training as the loop sees it: do step n, give the state, show what the networks do."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfcyclegan3d import patches, preprocessing, tiling
from tfcyclegan3d.config import Config
from tfcyclegan3d.config_sections import TrainingConfig
from tfcyclegan3d.precision import policy_for
from tfcyclegan3d.preprocessing import CoarseObjects
from tfcyclegan3d.synthesis.microscope import ANY
from tfcyclegan3d.training import previews
from tfcyclegan3d.training.averaging import WeightAverage
from tfcyclegan3d.training.candidates import RAW, Candidates, compiled
from tfcyclegan3d.training.checkpoints import read_arrays
from tfcyclegan3d.training.composites import SeparateStep
from tfcyclegan3d.training.course import Clock, Course
from tfcyclegan3d.training.cyclegan import CycleGANStep, rate_of
from tfcyclegan3d.training.distribution import Distribution
from tfcyclegan3d.training.monitors import MONITORS
from tfcyclegan3d.training.networks import build_networks
from tfcyclegan3d.training.outlines import find_outlines, told_diameters
from tfcyclegan3d.training.preparation import Prepared
from tfcyclegan3d.training.probes import Observation, Probes, observe, one_by_one, spread_probes
from tfcyclegan3d.training.schedules import constant_then_linear, linear
from tfcyclegan3d.training.selection import Selection
from tfcyclegan3d.training.start import StartStep
from tfcyclegan3d.training.trainer import ADVERSARIAL, START, Generators, recalled
from tfcyclegan3d.training.watch import GO_BACK, Decision, Watch, read_monitors

logger = logging.getLogger(__name__)

START_DECAY_FROM, START_FINAL_RATE = 0.5, 0.2
N_PREVIEWS = 3
N_REMEMBERED = 4  # Candidates that may still become the choice.
# Stacks, and tiles of each, that tell how full the stacks are.
MOST_LOOKED_AT = 256
# Share of the adversarial part's steps below which it has hardly taken place.
HARDLY = 0.25
PROBE_INDEX = 2**62  # Far from every index a training reaches: patches drawn to be shown alone.


class CycleGANTrainer:
    """The networks, their steps and their data.

    Parameters
    ----------
    prepared : Prepared
        Images, masks and a configuration with nothing left open.
    distribution : Distribution, optional
        The devices that share each batch, one if not given.
    pairs : PatchSource, optional
        Of images and their masks, which the start and the supervised term learn from; renderings of the prepared masks
        if not given.
    """

    def __init__(
        self,
        prepared: Prepared,
        distribution: Distribution | None = None,
        pairs: patches.PatchSource | None = None,
    ) -> None:
        config = prepared.config
        self.config = config
        self.distribution = distribution or Distribution()
        self.policy = policy_for(config.training.mixed_precision)
        training, weights, momentum = config.training, config.losses, config.training.average_momentum
        with self.distribution.scope():
            self.networks = build_networks(
                config.model, len(config.classes), self.policy, config.seed, config.n_mask_channels
            )
            self._average = WeightAverage(self.networks.generator_variables, momentum) if momentum > 0 else None
            self._start = StartStep(self.networks, training.start_learning_rate, self.policy, self._average)
            gan_step = SeparateStep if training.generator_update == "separate" else CycleGANStep
            self._gan = gan_step(self.networks, weights, training, self.policy, config.seed, self._average)
        self._run_start = self.distribution.over_replicas(self._start)
        self._run_gan = self.distribution.over_replicas(self._gan)
        self._prepared = prepared
        self._told = told_diameters(prepared)  # Refused now rather than at the end.
        self._pairs = pairs
        # Of the masks drawn after the start, for each kind of group; 0 before that.
        n_kinds = len(prepared.prior.groups()) if prepared.prior is not None else 1
        self._fills = tf.Variable(tf.zeros(n_kinds), trainable=False)
        self._sources: dict[str, patches.PatchSource] = {
            "images": patches.VolumePatches(
                prepared.images, training.patch_shape, (config.seed, 1), training.augmentation
            )
        }
        self._iterators: dict[str, tuple[int, Iterator]] = {}
        self.candidates = Candidates(self.networks, self._average, config.model, self.policy)
        shape, n_probes = config.inference.tile_shape, config.monitors.n_probes
        self._probe_images = spread_probes(prepared.images, shape, n_probes, (config.seed, 10))
        self._set_masks(prepared.objects)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Every loss a step may return, in the order of the log."""
        same = ("identity_mask", "identity_image") if self.config.losses.identity > 0 else ()
        pairs = ("supervised",) if self._uses_pairs or self.config.training.start_fraction > 0 else ()
        return ("adversarial_mask", "adversarial_image", "cycle_mask", "cycle_image", *same, *pairs, "critics")

    @property
    def columns(self) -> tuple[str, ...]:
        """Everything that an epoch logs."""
        watched = [f"monitors/{name}" for name in MONITORS]
        scores = [f"scores/{which}" for which in self.candidates.names]
        return (*self.loss_names, "learning_rate_generators", "learning_rate_critics", *watched, *scores)

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rates of the last step; critics have none before the adversarial part."""
        if self._gan.n_steps.numpy() == 0:
            return {"learning_rate_generators": rate_of(self._start.optimizer)}
        return {f"learning_rate_{name}": rate for name, rate in self._gan.learning_rates.items()}

    @property
    def notes(self) -> list[str]:
        """What was found or assumed so far, for the user to read."""
        return self._prepared.notes

    def recall(self, notes: Sequence[str]) -> None:
        """Put what was said before a resumption in front of what was said since, without repeating anything."""
        self.notes[:] = recalled(notes, self.notes)

    def beginning(self) -> Course:
        """Return the course of a training that has not begun."""
        watch = Watch(self.config.monitors, self.config.training.start_fraction)
        return Course(Clock(), watch, Selection(self.probes.images.shape, N_REMEMBERED))

    def phase_of(self, losses: Mapping[str, object]) -> str:
        """Return ``"start"`` or ``"cyclegan"``, whichever gives such losses."""
        return ADVERSARIAL if "critics" in losses else START

    @property
    def is_adversarial(self) -> bool:
        """Whether the networks have done adversarial steps."""
        return bool(self._gan.n_steps.numpy() > 0)

    def phase(self, progress: float) -> str:
        """Return ``"start"`` or ``"cyclegan"``, by the share of the training done; there is no way back."""
        return START if progress < self.config.training.start_fraction and not self.is_adversarial else ADVERSARIAL

    def step(self, index: int, progress: float, rate: float = 1.0) -> dict[str, tf.Tensor]:
        """Do step ``index``, ``progress`` of the way, at ``rate`` times the configured learning rates.

        Returns
        -------
        dict of str to scalar tensor
            Its losses by name.
        """
        training, start = self.config.training, self.config.training.start_fraction
        if self.phase(progress) == START:
            rate *= constant_then_linear(progress / start, decay_from=START_DECAY_FROM, final=START_FINAL_RATE)
            self._start.optimizer.learning_rate.assign(training.start_learning_rate * rate)
            return self._run_start(self._next("rendered", index), self._foreground_weights(progress))
        share = (progress - start) / (1 - start) if start < 1 else 1.0
        rate *= constant_then_linear(share, decay_from=training.decay_from, final=training.final_rate)
        self._gan.set_learning_rates(training.generator_learning_rate * rate, training.critic_learning_rate * rate)
        if self._redraws_masks and not np.any(self._fills):
            self._redraw_masks()
        (image,), (mask,) = self._next("images", index), self._next("masks", index)
        pair = self._next("rendered", index) if self._uses_pairs else (mask, mask)
        weights = self.config.losses
        supervised = tf.constant(linear(share, weights.supervised, weights.supervised_end), tf.float32)
        return self._run_gan((image, mask, *pair), supervised, self._foreground_weights(progress))

    def state(self) -> dict[str, object]:
        """Return every variable that the training goes on from, by name."""
        groups = {
            "image_to_mask": self.networks.image_to_mask.variables,
            "mask_to_image": self.networks.mask_to_image.variables,
            "mask_critic": self.networks.mask_critic.variables,
            "image_critic": self.networks.image_critic.variables,
            "start_optimizer": self._start.optimizer.variables,
            **{name: optimizer.variables for name, optimizer in self._gan.optimizers.items()},
            "pools": [
                self._gan.mask_pool.kept,
                self._gan.mask_pool.n_seen,
                self._gan.image_pool.kept,
                self._gan.image_pool.n_seen,
            ],
            "steps": [self._gan.n_steps],
            "fill": [self._fills],
            "average": [*self._average.averages, self._average.n_updates] if self._average else [],
        }
        return {
            f"{group}/{i:04d}": variable for group, variables in groups.items() for i, variable in enumerate(variables)
        }

    def restored(self) -> None:
        """Follow the state after its variables have been assigned from a checkpoint, an earlier one too."""
        self._iterators.clear()
        redrawn = np.any(self._fills)
        self._set_masks(self._prepared.redrawn(self._fills_by_kind) if redrawn else self._prepared.objects)

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the masks (NZYXC in [-1, 1]), with centres if any, that each candidate makes of the probes' images."""
        return {
            which: one_by_one(self.candidates.forwards(which)[0], self.probes.images) for which in self.candidates.names
        }

    def look(self) -> tuple[Observation, dict[str, np.ndarray]]:
        """Return what the networks make of the probes as they are now, and each candidate's masks of them."""
        predicted = self.predictions()
        seen = observe(self.probes, *self.candidates.forwards(RAW), *self.candidates.critics, predicted[RAW])
        return seen, {which: masks[..., : len(self.config.classes)] for which, masks in predicted.items()}

    def judge(self, course: Course, progress: float, is_saved: bool) -> tuple[Decision, dict[str, float] | None]:
        """Read the monitors and let the selection consider the epoch; see ``Trainer``."""
        epoch, config = course.clock.epoch, self.config
        seen, predicted = self.look()
        if not all(np.isfinite(masks).all() for masks in predicted.values()):
            return course.watch.judge_divergence(course.clock.step), None
        readings = read_monitors(config.monitors, seen, config.classes)
        decision = course.watch.judge(epoch, readings, progress, is_saved)
        scores = {}
        if is_saved and decision.action != GO_BACK:
            sound = not any(one.fails and config.monitors.is_severe(one.monitor) for one in readings)
            settled = config.training.start_fraction == 0 or _faded(config, progress) >= 1
            scores = course.selection.consider(epoch, predicted, sound, settled, self.is_adversarial)
        found = {f"monitors/{one.monitor}": one.value for one in readings if not math.isnan(one.value)}
        return decision, found | {f"scores/{which}": score for which, score in scores.items()}

    def finished(self, networks: Generators) -> Config:
        """Let outlines run further out where the objects found are smaller than told, and note what was found."""
        levels, notes = find_outlines(networks[0], self._prepared, self._told)
        for note in [*notes, *_hardly_adversarial(self.config.training, int(self._gan.n_steps.numpy()))]:
            logger.info(note)
            if note not in self.notes:
                self.notes.append(note)
        return self.config.replace({"inference.outline_levels": levels})

    def checks(self, networks: Generators) -> tuple[bool, list[str]]:
        """Read the monitors on given generators; return whether they are not to be trusted, and what is wrong."""
        seen = self.look_at(*networks)
        failing = [one for one in read_monitors(self.config.monitors, seen, self.config.classes) if one.fails]
        severe = any(self.config.monitors.is_severe(one.monitor) for one in failing)
        return severe, [one.text for one in failing]

    def look_at(self, image_to_mask: keras.Model, mask_to_image: keras.Model) -> Observation:
        """Return what given generators make of the probes, and the present critics of that."""
        return observe(self.probes, compiled(image_to_mask), compiled(mask_to_image), *self.candidates.critics)

    def present_networks(self) -> tuple[keras.Model, keras.Model]:
        """Return (image_to_mask, mask_to_image) in float32 as they are now, averaged where an average is kept."""
        return self.candidates.networks(self.candidates.names[0])

    def stored_networks(self, checkpoint: Path, which: str) -> tuple[keras.Model, keras.Model]:
        """Return (image_to_mask, mask_to_image) in float32 as a candidate was at a checkpoint.

        Raises
        ------
        ModelError
            For a damaged checkpoint.
        """
        names = ("image_to_mask", "mask_to_image", "average")
        return self.candidates.stored(*read_arrays(checkpoint, names).values(), which)

    def preview(self, footer: str) -> Figure:
        """Draw a few fixed patches: image, mask, reconstruction; mask, image, reconstruction."""
        patch_shape, images = self.config.training.patch_shape, self._prepared.images
        shown = [
            previews.patch_to_show(
                images[i % len(images)], patch_shape, np.random.default_rng([self.config.seed, 9, i])
            )
            for i in range(N_PREVIEWS)
        ]
        masks = np.stack([self._sources["masks"].draw(PROBE_INDEX + i)[0] for i in range(N_PREVIEWS)])
        to_mask, to_image = (network.predict_on_batch for network in self.present_networks())
        return previews.translations_figure(to_mask, to_image, shown, masks, self.config.classes, footer)

    def _foreground_weights(self, progress: float) -> tf.Tensor:
        """Return the configured weights, which fade to ``foreground_power`` in the start.

        They keep the first steps from the empty mask; kept on, they would ask for masks larger than the objects.
        """
        faded, power = _faded(self.config, progress), self.config.losses.foreground_power
        return tf.constant(
            [linear(faded, weight, weight**power) for weight in self.config.losses.foreground_weights], tf.float32
        )

    @property
    def _redraws_masks(self) -> bool:
        drawn = self._prepared.prior is not None
        return drawn and self.config.synthesis.fill_from_stack and self.config.training.start_fraction > 0

    def _redraw_masks(self) -> None:
        """Draw the masks anew, as full as the networks, after their start, find the stacks to be.

        The critics would otherwise teach the networks how full the first masks were, which came from a threshold that
        misses dim objects.
        """
        channels = self._prepared.prior.channels().values()
        found = []
        for image in tiling.spread(self._prepared.images, MOST_LOOKED_AT):
            mask = self._predicted_mask(image)
            found.append([mask[..., list(some)].any(axis=-1).mean() for some in channels])
        fills = [np.mean(of_stacks) for of_stacks in zip(*found, strict=True)]
        self._fills.assign(self.distribution.of_chief(np.maximum(fills, 1e-6)))
        kinds = [" and ".join(kind.class_names) for kind in self._prepared.prior.groups()]
        found = ", ".join(f"{name} {100 * fill:.1f} %" for name, fill in zip(kinds, fills, strict=True))
        note = f"after the start, the stacks look this full: {found}; synthetic masks are drawn anew"
        logger.info(note)
        if note not in self.notes:  # As after going back to an earlier checkpoint.
            self.notes.append(note)
        self._set_masks(self._prepared.redrawn(self._fills_by_kind))

    @property
    def _fills_by_kind(self) -> dict[str, float]:
        return dict(zip(self._prepared.prior.channels(), self._fills.numpy().tolist(), strict=True))

    def _set_masks(self, objects: list[CoarseObjects]) -> None:
        patch_shape, seed = self.config.training.patch_shape, self.config.seed
        masks = [one.shown for one in objects]
        augmented = self.config.training.augmentation
        self._sources["masks"] = patches.VolumePatches(masks, patch_shape, (seed, 2), augmented, patches.mask_range)
        self._sources["rendered"] = self._pairs or patches.RenderedPatches(
            objects,
            patch_shape,
            ANY,
            self.config.preprocessing.percentiles,
            (seed, 3),
            object_share=self.config.training.object_share,
        )
        for name in ("masks", "rendered"):
            self._iterators.pop(name, None)
        shape, n_probes = self.config.inference.tile_shape, len(self._probe_images)
        drawn = patches.mask_range(spread_probes(masks, shape, n_probes, (seed, 11)))
        self.probes = Probes(self._probe_images, drawn)

    def _predicted_mask(self, image: np.ndarray) -> np.ndarray:
        """Return the mask (ZYXC bool) of a stack by tiles side by side: rough at their seams, good for shares.

        Of a large stack, the masks of tiles spread over it, one after the other along Z.
        """
        to_mask, _ = self.present_networks()
        tile = self.config.training.patch_shape
        sides = tuple(np.maximum(image.shape[:3], tile).tolist())
        crop = tiling.crop_of(tiling.padding_to(image.shape[:3], tile))
        tiles = tiling.plan_tiles(sides, tile, (0, 0, 0))

        def predicted(place: tiling.Tile) -> np.ndarray:
            patch = preprocessing.pad_to(image[place.slices], tile)
            return to_mask.predict_on_batch(patch[np.newaxis])[0][..., : image.shape[-1]] > 0

        if len(tiles) > MOST_LOOKED_AT:
            return np.concatenate([predicted(place)[crop] for place in tiling.spread(tiles, MOST_LOOKED_AT)])
        mask = np.zeros((*sides, image.shape[-1]), bool)
        for place in tiles:
            mask[place.slices] = predicted(place)
        return mask[crop]

    @property
    def _uses_pairs(self) -> bool:
        return self.config.losses.supervised > 0 or self.config.losses.supervised_end > 0

    def _next(self, name: str, index: int) -> tuple[tf.Tensor, ...]:
        """Return batch ``index`` of a source; batches asked for in order are prefetched."""
        expected, iterator = self._iterators.get(name, (None, None))
        if expected != index:
            batch_size = self.config.training.batch_size
            samples = self.distribution.samples(batch_size)
            iterator = iter(patches.dataset(self._sources[name], batch_size, index, samples))
        self._iterators[name] = index + 1, iterator
        return next(iterator)


def _hardly_adversarial(training: TrainingConfig, n_steps: int) -> list[str]:
    """Say so where the clock left few steps to the part of a training that follows its start."""
    planned = round((1 - training.start_fraction) * training.epochs * training.steps_per_epoch)
    if training.max_minutes is None or training.start_fraction == 0 or n_steps >= HARDLY * planned:
        return []
    return [
        f"the clock left {n_steps} of {planned} steps to the adversarial part: what was learned comes from synthetic "
        "masks, hardly from the stacks themselves; give --max-minutes more"
    ]


def _faded(config: Config, progress: float) -> float:
    """Return how far the foreground weights have faded, 1 (or more) being all the way; 0 where there is no start."""
    fading = config.training.start_fraction * config.losses.foreground_fade
    return progress / fading if fading > 0 else 0.0
