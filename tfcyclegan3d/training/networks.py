"""The networks of each method, built from a configuration."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from tfcyclegan3d.config import Config
from tfcyclegan3d.config_sections import ModelConfig
from tfcyclegan3d.models.patchgan import patchgan
from tfcyclegan3d.models.quick import quickened
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.models.unet import unet
from tfcyclegan3d.models.vox2vox import vox2vox_generator
from tfcyclegan3d.training.fused_normalization import FusedInstanceNormalization

IMAGE_TO_MASK, MASK_TO_IMAGE = "image_to_mask", "mask_to_image"


@dataclass(frozen=True)
class Networks:
    """The networks by their jobs; the paper calls them G_S, G_I, D_S and D_I."""

    image_to_mask: keras.Model
    mask_to_image: keras.Model
    mask_critic: keras.Model
    image_critic: keras.Model

    @property
    def generator_variables(self) -> list:
        """Trainable variables of both generators."""
        return self.image_to_mask.trainable_variables + self.mask_to_image.trainable_variables

    @property
    def critic_variables(self) -> list:
        """Trainable variables of both critics."""
        return self.mask_critic.trainable_variables + self.image_critic.trainable_variables


def generator_of(
    config: ModelConfig, n_inputs: int, dtype: str, seed: int, name: str, n_outputs: int | None = None
) -> keras.Model:
    """Build the generator of that name, of as many outputs as inputs if their number is not given."""
    normalization = config.normalization
    if name == MASK_TO_IMAGE and config.mask_to_image_normalization is not None:
        normalization = config.mask_to_image_normalization
    return resnet_generator(
        n_inputs,
        n_inputs if n_outputs is None else n_outputs,
        filters=config.filters,
        blocks=config.blocks,
        end_kernel=config.end_kernel,
        residual=config.residual,
        normalization=normalization,
        output_normalization=config.output_normalization,
        dtype=dtype,
        seed=seed,
        name=name,
    )


def segmenter_of(config: Config, n_classes: int, dtype: str, seed: int) -> keras.Model:
    """Build the ``image_to_mask`` of a method that learns from pairs."""
    model, settings = config.model, {"dtype": dtype, "seed": seed, "name": IMAGE_TO_MASK}
    settings |= {"filters": model.filters, "normalization": model.normalization}
    if config.method == "vox2vox":
        return vox2vox_generator(n_classes, n_classes, dropout=config.supervised.dropout, **settings)
    return unet(n_classes, n_classes, levels=config.supervised.levels, **settings)


def pair_critic_of(config: ModelConfig, n_classes: int, dtype: str, seed: int) -> keras.Model:
    """Build Vox2Vox' critic, which sees an image and a mask as channels of one input."""
    return patchgan(
        2 * n_classes,
        filters=config.critic_filters,
        levels=config.critic_levels,
        last_filters=config.critic_filters * 2**config.critic_levels,
        normalization=config.critic_normalization,
        dtype=dtype,
        seed=seed,
        name="pair_critic",
    )


def quick_to_train(network: keras.Model, dtype: str | None = None) -> keras.Model:
    """Return a copy that trains faster, as ``quickened`` does, and is not the one to save."""
    return quickened(network, dtype, FusedInstanceNormalization)


def build_networks(
    config: ModelConfig, n_classes: int, dtype: str, seed: int, n_mask_channels: int | None = None
) -> Networks:
    """Build all four from a seed, in their quick form, which is not the one to save.

    Images have one channel a class, and so have masks unless the number of their channels is given.
    """
    n_masks = n_classes if n_mask_channels is None else n_mask_channels

    def generator(seed: int, name: str, n_inputs: int, n_outputs: int) -> keras.Model:
        return quick_to_train(generator_of(config, n_inputs, dtype, seed, name, n_outputs))

    def critic_of(seed: int, name: str, n_channels: int) -> keras.Model:
        critic = patchgan(
            n_channels,
            filters=config.critic_filters,
            levels=config.critic_levels,
            normalization=config.critic_normalization,
            dtype=dtype,
            seed=seed,
            name=name,
        )
        return quick_to_train(critic)

    return Networks(
        image_to_mask=generator(seed * 4000 + 1000, IMAGE_TO_MASK, n_classes, n_masks),
        mask_to_image=generator(seed * 4000 + 2000, MASK_TO_IMAGE, n_masks, n_classes),
        mask_critic=critic_of(seed * 4000 + 3000, "mask_critic", n_masks),
        image_critic=critic_of(seed * 4000 + 4000, "image_critic", n_classes),
    )
