"""The CycleGAN step of the paper's published code: each network by updates of its own, one after another."""

from __future__ import annotations

import tensorflow as tf

from tfcyclegan3d import losses
from tfcyclegan3d.training.cyclegan import CycleGANStep


class SeparateStep(CycleGANStep):
    """One training step in which every network has an optimiser of its own.

    First ``mask_to_image`` is updated from its composite: ``adversarial`` of its fake, ``identity``, the forward cycle
    mask -> image -> mask and the backward cycle image -> mask -> image, ``image_to_mask`` being held fixed. Then
    ``image_to_mask`` is updated likewise, beside the ``mask_to_image`` just updated. Each critic is updated on real
    patches, then on fakes made before either update.

    What a composite leaves out of the joint loss does not depend on its generator, and so has no gradient there: the
    joint loss, followed by one generator alone, is its composite. What differs from the joint step is that the second
    generator answers to the first one's update, and that a critic moves twice.

    Parameters and call are those of ``CycleGANStep``; the losses returned are those from before any update.
    """

    def _trained_variables(self) -> dict[str, list]:
        networks = self._networks
        several = (networks.mask_to_image, networks.image_to_mask, networks.image_critic, networks.mask_critic)
        return {f"{network.name}_optimizer": network.trainable_variables for network in several}

    def _train_generators(self, *batch):
        before = self._descend("mask_to_image_optimizer", lambda: self._generators_loss(*batch))
        after = self._descend("image_to_mask_optimizer", lambda: self._generators_loss(*batch))
        with tf.control_dependencies(tf.nest.flatten(after)):
            return tf.nest.map_structure(tf.identity, before)

    def _train_critics(self, image, mask, fake_mask, fake_image):
        fake_mask, fake_image = self.mask_pool.exchange(fake_mask), self.image_pool.exchange(fake_image)
        critics = {
            "image_critic_optimizer": (self._judge_image, (image, 6), (fake_image, 7)),
            "mask_critic_optimizer": (self._judge_mask, (mask, 4), (fake_mask, 5)),
        }
        halves = []
        for name, (judge, real, fake) in critics.items():
            halves.append(self._descend(name, lambda judge=judge, real=real: _loss_on_real(judge(*real))))
            halves.append(self._descend(name, lambda judge=judge, fake=fake: _loss_on_fake(judge(*fake))))
        return tf.add_n(halves)


def _loss_on_real(scores):
    """Return the half of a critic's loss that looks at real patches, twice: fakes that score 0 add nothing to it."""
    loss = losses.least_squares_critic_loss(scores, tf.zeros_like(scores))
    return loss, loss


def _loss_on_fake(scores):
    """Return the half of a critic's loss that looks at fakes, twice: real patches that score 1 add nothing to it."""
    loss = losses.least_squares_critic_loss(tf.ones_like(scores), scores)
    return loss, loss
