"""One step of Vox2Vox: a generator that answers to a truth and to a critic which sees image and mask together."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfcyclegan3d import losses
from tfcyclegan3d.config_sections import TrainingConfig
from tfcyclegan3d.precision import scaled
from tfcyclegan3d.training.fused_adam import FusedAdam


class Vox2VoxStep:
    """One training step on pairs.

    The generator's loss is ``LSGAN(critic(image, G(image))) + dice_weight * Dice(mask, G(image))``; the critic, which
    is trained on the same batch after it, tells (image, mask) from (image, G(image)).

    Parameters
    ----------
    image_to_mask, critic : keras.Model
        Trained in place; the critic takes image and mask as channels of one input.
    training : TrainingConfig
        Rates.
    dice_weight : float
        Alpha in Cirillo et al., arXiv:2003.13653, section 2.3.
    class_weights : sequence of float
        Of each class in the Dice term.
    policy : str
        Keras dtype policy of the networks.
    """

    loss_names = ("adversarial_mask", "dice", "critics")

    def __init__(
        self,
        image_to_mask: keras.Model,
        critic: keras.Model,
        training: TrainingConfig,
        dice_weight: float,
        class_weights: Sequence[float],
        policy: str,
    ) -> None:
        self._to_mask, self._critic = image_to_mask, critic
        self._dice_weight, self._class_weights = dice_weight, tuple(class_weights)
        rates = {"generator_optimizer": training.generator_learning_rate}
        rates["critic_optimizer"] = training.critic_learning_rate
        self.optimizers = {name: scaled(FusedAdam(rate, training.beta_1), policy) for name, rate in rates.items()}
        self.optimizers["generator_optimizer"].build(image_to_mask.trainable_variables)
        self.optimizers["critic_optimizer"].build(critic.trainable_variables)

    @tf.function
    def __call__(self, image: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        """Train on pairs (BZYXC in [-1, 1] each) and return the losses by name."""
        optimizer, variables = self.optimizers["generator_optimizer"], self._to_mask.trainable_variables
        with tf.GradientTape() as tape:
            fake = self._to_mask(image, training=True)
            adversarial = losses.least_squares_generator_loss(self._judge(image, fake))
            dice = losses.soft_dice_loss(mask, fake, self._class_weights)
            scaled_loss = optimizer.scale_loss(adversarial + self._dice_weight * dice)
        optimizer.apply(tape.gradient(scaled_loss, variables), variables)

        optimizer, variables = self.optimizers["critic_optimizer"], self._critic.trainable_variables
        with tf.GradientTape() as tape:
            real, made = self._judge(image, mask), self._judge(image, tf.stop_gradient(fake))
            critics = losses.least_squares_critic_loss(real, made)
            scaled_loss = optimizer.scale_loss(critics)
        optimizer.apply(tape.gradient(scaled_loss, variables), variables)
        return {"adversarial_mask": adversarial, "dice": dice, "critics": critics}

    def _judge(self, image: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return self._critic(tf.concat([image, mask], axis=-1), training=True)
