"""One step of a network that learns from pairs by the Dice loss alone, as the paper's 3D U-Net does."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfcyclegan3d import losses
from tfcyclegan3d.config_sections import TrainingConfig
from tfcyclegan3d.precision import scaled


class DiceStep:
    """One training step on pairs.

    Parameters
    ----------
    image_to_mask : keras.Model
        Trained in place.
    training : TrainingConfig
        Rates. Adam keeps the largest of its second moments (AMSGrad), as in the paper's published code.
    policy : str
        Keras dtype policy of the network.
    """

    loss_names = ("dice",)

    def __init__(self, image_to_mask: keras.Model, training: TrainingConfig, policy: str) -> None:
        self._to_mask = image_to_mask
        optimizer = keras.optimizers.Adam(training.generator_learning_rate, training.beta_1, amsgrad=True)
        self.optimizers = {"generator_optimizer": scaled(optimizer, policy)}
        self.optimizers["generator_optimizer"].build(image_to_mask.trainable_variables)

    @tf.function
    def __call__(self, image: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        """Train on pairs (BZYXC in [-1, 1] each) and return the loss by name."""
        optimizer, variables = self.optimizers["generator_optimizer"], self._to_mask.trainable_variables
        with tf.GradientTape() as tape:
            loss = losses.soft_dice_loss(mask, self._to_mask(image, training=True))
            scaled_loss = optimizer.scale_loss(loss)
        optimizer.apply(tape.gradient(scaled_loss, variables), variables)
        return {"dice": loss}
