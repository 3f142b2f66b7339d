"""A training on pairs of stacks and masks as the loop sees it, by the Dice loss alone or beside a critic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfcyclegan3d import errors, patches
from tfcyclegan3d.config import Config
from tfcyclegan3d.precision import policy_for
from tfcyclegan3d.training import previews
from tfcyclegan3d.training.candidates import compiled
from tfcyclegan3d.training.checkpoints import read_arrays
from tfcyclegan3d.training.course import Clock, Course
from tfcyclegan3d.training.cyclegan import rate_of
from tfcyclegan3d.training.distribution import Distribution
from tfcyclegan3d.training.networks import pair_critic_of, quick_to_train, segmenter_of
from tfcyclegan3d.training.pairs import PreparedPairs
from tfcyclegan3d.training.schedules import constant_then_linear
from tfcyclegan3d.training.supervised import DiceStep
from tfcyclegan3d.training.trainer import Generators, recalled
from tfcyclegan3d.training.validation import BestEpoch, Validation
from tfcyclegan3d.training.vox2vox import Vox2VoxStep
from tfcyclegan3d.training.watch import Decision, Watch

N_PREVIEWS = 3


class SupervisedTrainer:
    """The network, its step and its data; see ``Trainer``.

    Parameters
    ----------
    prepared : PreparedPairs
        Pairs and a configuration with nothing left open.
    distribution : Distribution, optional
        One device on one machine.

    Raises
    ------
    ClusterError
        For several devices or machines, which methods that learn from pairs do not train on.
    """

    def __init__(self, prepared: PreparedPairs, distribution: Distribution | None = None) -> None:
        config = prepared.config
        self.config, self._prepared = config, prepared
        self.distribution = distribution or Distribution()
        if self.distribution.n_replicas > 1:
            raise errors.ClusterError(
                f"{config.method} was to train on {self.distribution.n_replicas} devices",
                "train it on one, without TF_CONFIG",
            )
        self.policy = policy_for(config.training.mixed_precision)
        n_classes, seed = len(config.classes), config.seed * 4000
        self._plain = segmenter_of(config, n_classes, "float32", seed + 1000)
        self._network = quick_to_train(self._plain, self.policy)
        self._networks = {"image_to_mask": self._network}
        if config.method == "vox2vox":
            critic = quick_to_train(pair_critic_of(config.model, n_classes, self.policy, seed + 3000))
            self._networks["pair_critic"] = critic
            weights = config.losses.class_weights
            self._step: DiceStep | Vox2VoxStep = Vox2VoxStep(
                self._network, critic, config.training, config.supervised.dice_weight, weights, self.policy
            )
        else:
            self._step = DiceStep(self._network, config.training, self.policy)
        self._pairs = patches.PairedPatches(
            prepared.training.images,
            prepared.training.masks,
            config.training.patch_shape,
            (config.seed, 21),
            config.supervised.rotation,
            config.supervised.rotation_share,
        )
        self._validation = Validation(prepared.validation, config.inference.tile_shape)
        self._forward = compiled(self._network)
        self._iterator: tuple[int | None, Iterator | None] = (None, None)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Every loss a step returns, in the order of the log."""
        return self._step.loss_names

    @property
    def columns(self) -> tuple[str, ...]:
        """Everything that an epoch logs."""
        scores = [f"validation/{name}" for name in ("mean", *self.config.classes)]
        return (*self.loss_names, *self.learning_rates, *scores)

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rates of the last step."""
        rates = {name: rate_of(optimizer) for name, optimizer in self._step.optimizers.items()}
        return {f"learning_rate_{name.removesuffix('_optimizer')}s": rate for name, rate in rates.items()}

    @property
    def notes(self) -> list[str]:
        """What was found or assumed so far, for the user to read."""
        return self._prepared.notes

    def recall(self, notes: Sequence[str]) -> None:
        """Put what was said before a resumption in front of what was said since, without repeating anything."""
        self.notes[:] = recalled(notes, self.notes)

    def beginning(self) -> Course:
        """Return the course of a training that has not begun."""
        return Course(Clock(), Watch(self.config.monitors), BestEpoch(self.config.supervised.patience))

    def phase_of(self, losses: Mapping[str, object]) -> str:  # noqa: ARG002 (as a Trainer has it)
        """Return the name of the method, which has one phase."""
        return self.config.method

    def step(self, index: int, progress: float, rate: float = 1.0) -> dict[str, tf.Tensor]:
        """Do step ``index``, ``progress`` of the way, at ``rate`` times the configured rates; return its losses."""
        training = self.config.training
        rate *= constant_then_linear(progress, decay_from=training.decay_from, final=training.final_rate)
        rates = {"generator_optimizer": training.generator_learning_rate}
        rates["critic_optimizer"] = training.critic_learning_rate
        for name, optimizer in self._step.optimizers.items():
            optimizer.learning_rate.assign(rates[name] * rate)
        return self._step(*self._next(index))

    def judge(self, course: Course, progress: float, is_saved: bool) -> tuple[Decision, dict[str, float] | None]:
        """Score the network on the validation stacks; see ``Trainer``."""
        scores = self._validation.dice(self._forward)
        if not all(np.isfinite(variable.numpy()).all() for variable in self._network.trainable_variables):
            return course.watch.judge_divergence(course.clock.step), None
        decision = course.watch.judge(course.clock.epoch, (), progress, is_saved)
        if is_saved:
            course.selection.consider(course.clock.epoch, float(np.mean(scores)))
        named = zip(self.config.classes, scores, strict=True)
        return decision, {
            "validation/mean": float(np.mean(scores)),
            **{f"validation/{name}": one for name, one in named},
        }

    def finished(self, networks: Generators) -> Config:  # noqa: ARG002 (others look at them)
        """Return the training's own: its truth says where outlines run."""
        return self.config

    def checks(self, networks: Generators) -> tuple[bool, list[str]]:
        """Score a network about to be kept: one that finds nothing of a class is not to be trusted."""
        scores = zip(self.config.classes, self._validation.dice(compiled(networks[0])), strict=True)
        missed = [name for name, score in scores if score == 0]
        return bool(missed), [
            f"no voxel of {name} was found in the validation stacks: train longer, or check their truth"
            for name in missed
        ]

    def state(self) -> dict[str, object]:
        """Return every variable that the training goes on from, by name."""
        groups = {name: network.variables for name, network in self._networks.items()}
        groups |= {name: optimizer.variables for name, optimizer in self._step.optimizers.items()}
        return {
            f"{group}/{i:04d}": variable for group, variables in groups.items() for i, variable in enumerate(variables)
        }

    def restored(self) -> None:
        """Follow the state after its variables have been assigned from a checkpoint."""
        self._iterator = (None, None)

    def preview(self, footer: str) -> Figure:
        """Draw a few validation tiles: image, truth, predicted mask; those with most in them."""
        fullest = np.argsort(-self._validation.masks.mean(axis=(1, 2, 3, 4)), kind="stable")[:N_PREVIEWS]
        truths = patches.mask_range(self._validation.masks[fullest])
        images = self._validation.images[fullest]
        return previews.segmentations_figure(self._forward, images, truths, self.config.classes, footer)

    def present_networks(self) -> tuple[keras.Model]:
        """Return (image_to_mask,) in float32 as it is now."""
        self._plain.set_weights(self._network.get_weights())
        return (self._plain,)

    def stored_networks(self, checkpoint: Path, which: str) -> tuple[keras.Model]:  # noqa: ARG002 (as a Trainer)
        """Return (image_to_mask,) in float32 as it was at a checkpoint.

        Raises
        ------
        ModelError
            For a damaged checkpoint.
        """
        stored = read_arrays(checkpoint, ("image_to_mask",))["image_to_mask"]
        by_place = dict(zip((id(one) for one in self._network.variables), stored, strict=True))
        self._plain.set_weights([by_place[id(one)] for one in self._network.weights])
        return (self._plain,)

    def _next(self, index: int) -> tuple[tf.Tensor, ...]:
        """Return batch ``index``; batches asked for in order are prefetched."""
        expected, iterator = self._iterator
        if expected != index:
            iterator = iter(patches.dataset(self._pairs, self.config.training.batch_size, index))
        self._iterator = index + 1, iterator
        return next(iterator)
