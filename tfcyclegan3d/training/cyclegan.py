"""One CycleGAN step: both generators by one joint loss, then both critics, in one graph."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from tfcyclegan3d import losses
from tfcyclegan3d.config_sections import LossConfig, TrainingConfig
from tfcyclegan3d.models.outputs import with_logits
from tfcyclegan3d.precision import scaled
from tfcyclegan3d.training import replicas
from tfcyclegan3d.training.averaging import WeightAverage
from tfcyclegan3d.training.fused_adam import FusedAdam
from tfcyclegan3d.training.image_pool import ImagePool
from tfcyclegan3d.training.networks import Networks


class CycleGANStep:
    """One training step on an unpaired image and mask, and optionally on a rendered pair.

    The generators' loss is ``adversarial_mask * (LSGAN of masks) + adversarial * (LSGAN of images) + cycle * (L1 of
    cycled images + L1 or, where `LossConfig.cycle_mask` says so, segmentation loss of cycled masks) + identity * (L1 of
    both) + supervised * (loss on the rendered pair)``, weighted by class, and those of masks by foreground. Cycle and
    identity losses of the two domains are summed, not averaged, and both cycles send gradients to both generators.

    Parameters
    ----------
    networks : Networks
        Trained in place.
    weights : LossConfig
        With ``class_weights`` resolved.
    training : TrainingConfig
        Rates, pool, batch size and patch shape.
    policy : str
        Keras dtype policy of the networks.
    seed : int
        Of noise and pools.
    average : WeightAverage or None
        Of the generators, updated after each step.
    """

    def __init__(
        self,
        networks: Networks,
        weights: LossConfig,
        training: TrainingConfig,
        policy: str,
        seed: int,
        average: WeightAverage | None,
    ) -> None:
        self._networks = networks
        self._to_mask = with_logits(networks.image_to_mask)
        self._weights = weights
        self._seed = seed
        self._average = average
        critics = (networks.mask_critic, networks.image_critic)
        batchwise = keras.layers.BatchNormalization
        self._samples_meet = any(isinstance(layer, batchwise) for critic in critics for layer in critic.layers)
        self._trained = self._trained_variables()
        self.optimizers = {name: scaled(FusedAdam(beta_1=training.beta_1), policy) for name in self._trained}
        for name, optimizer in self.optimizers.items():
            optimizer.build(self._trained[name])
        self.set_learning_rates(training.generator_learning_rate, training.critic_learning_rate)
        n_mask_channels = networks.image_to_mask.outputs[0].shape[-1]
        self._n_classes = networks.image_to_mask.inputs[0].shape[-1]
        self._n_centres = n_mask_channels - self._n_classes
        patch = training.patch_shape
        self.mask_pool = ImagePool(training.pool_size, (*patch, n_mask_channels), seed * 2 + 1)
        self.image_pool = ImagePool(training.pool_size, (*patch, self._n_classes), seed * 2 + 2)
        self.n_steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def _trained_variables(self) -> dict[str, list]:
        """Return the variables that each optimiser updates, by its name."""
        return {
            "generator_optimizer": self._networks.generator_variables,
            "critic_optimizer": self._networks.critic_variables,
        }

    def set_learning_rates(self, generators: float, critics: float) -> None:
        """Set the rates of the steps to come."""
        for name, optimizer in self.optimizers.items():
            optimizer.learning_rate.assign(critics if "critic" in name else generators)

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rates of the last step, of ``"generators"`` and ``"critics"``."""
        rates = {name: rate_of(optimizer) for name, optimizer in self.optimizers.items()}
        return {"critics" if "critic" in name else "generators": rate for name, rate in rates.items()}

    @tf.function
    def __call__(
        self,
        image: tf.Tensor,
        mask: tf.Tensor,
        rendered: tf.Tensor,
        rendered_mask: tf.Tensor,
        supervised: tf.Tensor,
        foreground_weights: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Train on one batch (BZYXC in [-1, 1] each) and return the losses by name.

        Masks have the channels of ``image_to_mask``'s output: the classes', then those of their centres, if any.
        ``supervised`` is the weight of the rendered pair at this moment, a scalar; the pair is not looked at where the
        configuration gives it no weight at all. ``foreground_weights`` (C float32) say how much each class's object
        voxels weigh at this moment where a mask is the target.
        """
        terms, fake_mask, fake_image = self._train_generators(
            image, mask, rendered, rendered_mask, supervised, foreground_weights
        )
        with tf.control_dependencies([fake_mask, fake_image]):
            terms["critics"] = self._train_critics(image, mask, fake_mask, fake_image)
        if self._average is not None:
            self._average.update()
        self.n_steps.assign_add(1)
        return terms

    def _train_generators(self, *batch):
        return self._descend("generator_optimizer", lambda: self._generators_loss(*batch))

    def _train_critics(self, image, mask, fake_mask, fake_image):
        fake_mask, fake_image = self.mask_pool.exchange(fake_mask), self.image_pool.exchange(fake_image)
        networks, noise = self._networks, self._weights.critic_noise

        def critics_loss():
            masks = self._noised(mask, noise, 4), self._noised(fake_mask, noise, 5)
            images = self._noised(image, noise, 6), self._noised(fake_image, noise, 7)
            loss = losses.least_squares_critic_loss(*self._scores(networks.mask_critic, *masks))
            loss += losses.least_squares_critic_loss(*self._scores(networks.image_critic, *images))
            return loss, loss

        return self._descend("critic_optimizer", critics_loss)

    def _scores(self, critic: keras.Model, real, fake):
        """Return a critic's scores of real and of fake patches, from one pass where samples do not affect each other.

        One pass keeps one copy of the weights in the precision of the step, and one gradient of them, not two.
        """
        if self._samples_meet:
            return critic(real, training=True), critic(fake, training=True)
        return tf.split(critic(tf.concat([real, fake], 0), training=True), 2)

    def _descend(self, name: str, loss_of: Callable[[], tuple]):
        """Update an optimiser's variables by the gradient of the loss computed first; return what else is computed.

        What is returned is there once the gradients are: what goes on from it does not take memory beside them.
        """
        optimizer, variables = self.optimizers[name], self._trained[name]
        with tf.GradientTape() as tape:
            loss, found = loss_of()
            scaled_loss = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, variables)
        replicas.apply_mean_gradients(optimizer, gradients, variables)
        with tf.control_dependencies([gradient for gradient in gradients if gradient is not None]):
            return tf.nest.map_structure(tf.identity, found)

    def _generators_loss(self, image, mask, rendered, rendered_mask, supervised, foreground_weights):
        """Return the loss, and (its terms by name, the fake mask, the fake image)."""
        networks, weights, n = self._networks, self._weights, tf.shape(image)[0]
        pairs = weights.supervised > 0 or weights.supervised_end > 0
        same = weights.identity > 0
        # Translation, identity and rendered pairs share one pass of each generator.
        logits, masks = self._to_mask(
            tf.concat([image] + [self._as_image(mask)] * same + [rendered] * pairs, 0), training=True
        )
        images = networks.mask_to_image(
            tf.concat([mask] + [self._as_mask(image)] * same + [rendered_mask] * pairs, 0), training=True
        )
        fake_mask, fake_image = masks[:n], images[:n]
        cycled_image = networks.mask_to_image(self._noised(fake_mask, weights.cycle_noise, 0), training=True)
        cycled_logits, cycled_mask = self._to_mask(self._noised(fake_image, weights.cycle_noise, 1), training=True)
        terms = {
            "adversarial_mask": losses.least_squares_generator_loss(self._judge_mask(fake_mask, 2)),
            "adversarial_image": losses.least_squares_generator_loss(self._judge_image(fake_image, 3)),
            "cycle_image": losses.weighted_l1(image, cycled_image, weights.class_weights),
            "cycle_mask": losses.segmentation_loss(
                mask, cycled_logits, cycled_mask, foreground_weights, self._n_classes
            )
            if weights.cycle_mask == "segmentation"
            else self._mask_l1(mask, cycled_mask, foreground_weights),
        }
        of_mask = weights.adversarial if weights.adversarial_mask is None else weights.adversarial_mask
        loss = of_mask * terms["adversarial_mask"] + weights.adversarial * terms["adversarial_image"]
        loss += weights.cycle * (terms["cycle_image"] + terms["cycle_mask"])
        if same:
            terms["identity_mask"] = self._mask_l1(mask, masks[n : 2 * n], foreground_weights)
            terms["identity_image"] = losses.weighted_l1(image, images[n : 2 * n], weights.class_weights)
            loss += weights.identity * (terms["identity_mask"] + terms["identity_image"])
        if pairs:
            terms["supervised"] = losses.paired_loss(
                rendered_mask, logits[-n:], masks[-n:], rendered, images[-n:], foreground_weights
            )
            loss += supervised * terms["supervised"]
        return loss, (terms, fake_mask, fake_image)

    def _as_image(self, mask):
        """Return a mask with the channels of an image: without centres."""
        return mask[..., : self._n_classes] if self._n_centres else mask

    def _as_mask(self, image):
        """Return an image with the channels of a mask: its own for the centres, too."""
        return tf.concat([image, image], -1) if self._n_centres else image

    def _mask_l1(self, target, output, foreground_weights):
        class_weights = self._weights.class_weights
        if self._n_centres:
            class_weights = [*class_weights, *class_weights]
            foreground_weights = tf.concat([foreground_weights, tf.ones(self._n_centres)], 0)
        return losses.balanced_l1(target, output, class_weights, foreground_weights)

    def _judge_mask(self, mask, stream: int):
        return self._networks.mask_critic(self._noised(mask, self._weights.critic_noise, stream), training=True)

    def _judge_image(self, image, stream: int):
        return self._networks.image_critic(self._noised(image, self._weights.critic_noise, stream), training=True)

    def _noised(self, tensor, deviation: float, stream: int):
        """Add Gaussian noise to each sample, which depends on seed, stream, step and its place in the batch alone."""
        if deviation == 0:
            return tensor
        n_samples, *shape = tensor.shape
        first = self.n_steps * replicas.joint_size(n_samples) + replicas.first_sample(n_samples)
        seeds = [tf.stack([tf.constant(self._seed * 8 + stream, tf.int64), first + i]) for i in range(n_samples)]
        return tensor + deviation * tf.stack([tf.random.stateless_normal(shape, seed=seed) for seed in seeds])


def rate_of(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the present learning rate; not every version of Keras turns its variable into a number by itself."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
