"""The start: both generators learn from synthetic masks and their renderings, which are pairs by construction.

No user image and no label takes part. It puts the networks where CycleGAN's unpaired losses can improve them.
"""

from __future__ import annotations

import tensorflow as tf

from tfcyclegan3d import losses
from tfcyclegan3d.models.outputs import with_logits
from tfcyclegan3d.precision import scaled
from tfcyclegan3d.training import replicas
from tfcyclegan3d.training.averaging import WeightAverage
from tfcyclegan3d.training.fused_adam import FusedAdam
from tfcyclegan3d.training.networks import Networks


class StartStep:
    """One step of the start.

    Parameters
    ----------
    networks : Networks
        Only the generators are trained.
    learning_rate : float
        Of Adam.
    policy : str
        Keras dtype policy of the networks.
    average : WeightAverage, optional
        Updated after each step.
    """

    def __init__(self, networks: Networks, learning_rate: float, policy: str, average: WeightAverage | None) -> None:
        self._to_mask = with_logits(networks.image_to_mask)
        self._to_image = networks.mask_to_image
        self._variables = networks.generator_variables
        self._average = average
        self.optimizer = scaled(FusedAdam(learning_rate), policy)
        self.optimizer.build(self._variables)

    @tf.function
    def __call__(
        self, rendered: tf.Tensor, rendered_mask: tf.Tensor, foreground_weights: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Train on pairs (BZYXC in [-1, 1] each) and return the loss by name.

        ``foreground_weights`` (C float32) say how much each class's object voxels weigh at this moment.
        """
        with tf.GradientTape() as tape:
            logits, output = self._to_mask(rendered, training=True)
            image = self._to_image(rendered_mask, training=True)
            loss = losses.paired_loss(rendered_mask, logits, output, rendered, image, foreground_weights)
            scaled_loss = self.optimizer.scale_loss(loss)
        replicas.apply_mean_gradients(self.optimizer, tape.gradient(scaled_loss, self._variables), self._variables)
        if self._average is not None:
            self._average.update()
        return {"supervised": loss}
