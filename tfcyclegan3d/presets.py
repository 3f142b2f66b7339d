"""Ready-made configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tfcyclegan3d import errors
from tfcyclegan3d.config import Config, Method
from tfcyclegan3d.config_inference import InferenceConfig
from tfcyclegan3d.config_monitors import MonitorConfig, MonitorsConfig
from tfcyclegan3d.config_sections import (
    LossConfig,
    ModelConfig,
    PreprocessingConfig,
    SynthesisConfig,
    TrainingConfig,
)


def paper() -> Config:
    """Return what the paper says, and where it is silent what its published code does.

    Where the two differ the paper decides: percentiles 95 and 98 for every class, three synthetic masks, and what it
    takes from the CycleGAN paper, to which it refers for networks and loss: residual blocks that add, no normalisation
    before tanh, one loss for both generators. ``docs/presets.md`` says where each value comes from.

    Deviations from both: inputs lie in [-1, 1], as in the published code (the paper's text says [0, 1]), but are not
    rounded to 8 bits. Patches lie anywhere, not on a grid; stacks thinner than a patch are reflected at both ends, not
    the last alone. Convolutions pad by zeros, as in the published code (the CycleGAN paper reflects), and compute in a
    shorter type where the machine is fast in one, unless ``training.mixed_precision`` is off. An instance
    normalisation adds 1e-5 to the variance (the published code 1e-3 to the deviation). In stacks deeper than a tile,
    tiles overlap along Z too. The epoch is chosen by the agreement of all epochs, not by eye. Of masks of more than
    2**24 voxels only a part as large is drawn, with as many fewer pairs. Monitors put a training that fails back to its
    last good epoch, at half its rates.
    """
    return Config(
        preset="paper",
        training=TrainingConfig(augmentation=False),
        # "Exactly the same output image for different input images" (section III.C), but for rounding.
        monitors=MonitorsConfig(collapse=MonitorConfig(0.01, "stop")),
        inference=InferenceConfig(statistics="tile", merge="maximum"),
    )


def authors() -> Config:
    """Return the published code's own choices, also where the paper says otherwise.

    Residual blocks concatenate, which makes the trunk grow from 128 to 1280 channels and a generator three times as
    large as the paper's; an instance normalisation stands before tanh; every network is updated by itself, one after
    another; Golgi is stretched between percentiles 95 and 99.8; there is one synthetic mask for each of the four crops
    that the published code trains on. Deviations are those of ``paper``.
    """
    return dataclasses.replace(
        paper(),
        preset="authors",
        preprocessing=PreprocessingConfig(percentiles=None),
        synthesis=SynthesisConfig(n_masks=4),
        model=ModelConfig(residual="concatenate", output_normalization="instance"),
        training=TrainingConfig(augmentation=False, generator_update="separate"),
    )


def fast() -> Config:
    """Return the same method sized so that two CPU cores learn a usable model in minutes.

    The networks see a coarser grid and are smaller. They start on synthetic masks rendered by a randomised microscope,
    which plain CycleGAN at this length cannot do without: with a few per cent of foreground its L1 terms are
    content with an empty mask. Then they train as a CycleGAN on the user's images, while the rendered masks stay beside
    them: that ties them to masks that are right by construction, which few and small stacks need.
    """
    return Config(
        preset="fast",
        preprocessing=PreprocessingConfig(percentiles=(1.0, 99.8), downsampling=None),
        synthesis=SynthesisConfig(n_masks=12, fill_from_stack=True, maximum_shape=(32, 96, 96)),
        model=ModelConfig(filters=16, blocks=4, critic_filters=32, critic_levels=3),
        losses=LossConfig(
            adversarial=0.5,
            adversarial_mask=0.1,
            cycle=5.0,
            cycle_mask="segmentation",
            identity=0.0,
            foreground_weights=None,
            foreground_power=0.0,
            foreground_fade=0.6,
            supervised=5.0,
            supervised_end=5.0,
            cycle_noise=0.1,
            critic_noise=0.1,
        ),
        training=TrainingConfig(
            epochs=22,
            steps_per_epoch=75,
            patch_shape=(32, 32, 32),
            start_fraction=0.8,
            object_share=0.6,
            batch_size=1,
            generator_learning_rate=1e-4,
            critic_learning_rate=2e-4,
            final_rate=0.05,
            average_momentum=0.99,
            match_diameters=True,
        ),
        inference=InferenceConfig(tile_shape=(32, 64, 64), overlap=16, flips="plane"),
    )


def best() -> Config:
    """Return what ``fast`` does with an ``image_to_mask`` that does not normalise, in five times as many steps.

    Without normalisation it learns slower at first and ends higher: what it makes of a voxel does not depend on what
    else there is in a patch, in the training as in the prediction. ``mask_to_image`` would die without: its L1 is
    content with the background.
    """
    return fast().replace(
        {
            "preset": "best",
            "synthesis.n_masks": 24,
            "model.normalization": "none",
            "model.mask_to_image_normalization": "instance",
            "training.epochs": 40,
            "training.steps_per_epoch": 200,
            "training.start_fraction": 0.9,
            "inference.flips": "all",
        }
    )


# What the methods that learn from pairs change of a preset: by method, then for presets of the paper's size and small
# ones. The published code's values (docs/presets.md); what it has no say in, the small sizes, is this package's.
_UNET = {
    "model.filters": 32,
    "model.normalization": "batch",
    "training.batch_size": 4,
    "training.generator_learning_rate": 1e-4,
    "training.beta_1": 0.9,
    "supervised.patience": 10,
}
_VOX2VOX = {
    "model.filters": 64,
    "model.normalization": "instance",
    "training.generator_learning_rate": 2e-4,
    "training.critic_learning_rate": 2e-4,
    "training.beta_1": 0.5,
    "model.critic_levels": 3,
    "supervised.patience": 20,
}
_OF_PAPER = {"unet": _UNET, "two-stage": _UNET, "vox2vox": _VOX2VOX}
_SMALL_UNET = _UNET | {
    "model.filters": 16,
    "training.batch_size": 1,
    "training.generator_learning_rate": 5e-4,
    "model.normalization": "instance",
}
_SMALL = {"unet": _SMALL_UNET, "two-stage": _SMALL_UNET, "vox2vox": _VOX2VOX | {"model.filters": 16}}
# Both: one device, weights as they are rather than averaged, every patch turned and flipped.
_OF_PAIRS = {"training.devices": 1, "training.average_momentum": 0.0, "training.augmentation": True}


def with_method(config: Config, method: Method) -> Config:
    """Return a configuration with the networks and rates of a method, its length, patches and grid staying alike.

    Parameters
    ----------
    config : Config
        A preset, changed or not, of CycleGAN.
    method : {"cyclegan", "two-stage", "unet", "vox2vox"}
        See ``Config``.

    Raises
    ------
    OptionError
        For another method, or a configuration that is another method's already.
    """
    if method not in ("cyclegan", *_OF_PAPER):
        raise errors.OptionError("--method", method, f"choose one of cyclegan, {', '.join(_OF_PAPER)}")
    if config.method not in ("cyclegan", method):
        remedy = f"leave it out: the settings are of {config.method}; or give --preset in place of --config"
        raise errors.OptionError("--method", method, remedy)
    if method == "cyclegan":
        return config
    own = (_OF_PAPER if config.preset in ("paper", "authors") else _SMALL)[method]
    return config.replace({"method": method, **_OF_PAIRS, **own})


PRESETS: dict[str, Callable[[], Config]] = {"paper": paper, "authors": authors, "fast": fast, "best": best}


def for_this_machine() -> Config:
    """Return ``best`` where TensorFlow finds a GPU, ``fast`` elsewhere."""
    import tensorflow as tf  # Here, since naming a preset needs no TensorFlow.

    return best() if tf.config.list_physical_devices("GPU") else fast()


def by_name(name: str) -> Config:
    """Return a preset by its name.

    Raises
    ------
    OptionError
        For a name that is no preset.
    """
    if name not in PRESETS:
        raise errors.OptionError("--preset", name, f"choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
