"""Ready-made configurations."""

from __future__ import annotations

from collections.abc import Callable

from tfcyclegan3d import errors
from tfcyclegan3d.config import (
    Config,
    InferenceConfig,
    LossConfig,
    ModelConfig,
    PreprocessingConfig,
    SynthesisConfig,
    TrainingConfig,
)


def paper() -> Config:
    """Return what the paper says, and where it is silent what its published code does.

    From the paper: 64^3 patches, contrast stretching between percentiles 95 and 98, class weights 3.5 and 1, three
    synthetic masks. From the CycleGAN paper, to which it refers for its loss: least squares, cycle 10, identity 5, a
    pool of 50, Adam(2e-4, 0.5), a rate that falls linearly in the second half, batch 1. From the published code: 32
    filters, 9 blocks, critic of 64, 100 epochs of 216 steps.

    Deviations: residual blocks add (the published ones concatenate); no normalisation before tanh; one joint generator
    loss (the published code updates each generator from a composite of its own); inputs scaled to [-1, 1] as in the
    published code (the paper's text says [0, 1]); overlapping tiles are averaged (the published code thresholds and
    ORs them).
    """
    return Config(preset="paper")


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
            identity=0.0,
            foreground_weights=None,
            supervised=5.0,
            supervised_end=5.0,
            cycle_noise=0.1,
            critic_noise=0.1,
        ),
        training=TrainingConfig(
            epochs=22,
            steps_per_epoch=50,
            patch_shape=(32, 32, 32),
            start_fraction=0.77,
            generator_learning_rate=1e-4,
            final_rate=0.05,
            average_momentum=0.99,
        ),
        inference=InferenceConfig(tile_shape=(32, 64, 64), overlap=16),
    )


PRESETS: dict[str, Callable[[], Config]] = {"paper": paper, "fast": fast}


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
