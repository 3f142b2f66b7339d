"""Settings of networks small enough for tests: a step compiles in seconds and takes milliseconds."""

from tfcyclegan3d import presets

TINY = presets.fast().replace(
    {
        "model.filters": 4,
        "model.blocks": 1,
        "model.critic_filters": 4,
        "model.critic_levels": 2,
        "model.end_kernel": 3,
        "synthesis.n_masks": 2,
        "synthesis.maximum_shape": [16, 32, 32],
        "training.patch_shape": [16, 16, 16],
        "training.mixed_precision": "off",
        "inference.tile_shape": [16, 16, 16],
        "inference.overlap": 4,
        "inference.flips": "none",
        # Networks this small learn nothing worth trusting in a few steps: their monitors speak, and let them go on.
        **{f"monitors.{name}.consequence": "warn" for name in ("collapse", "empty", "full", "inversion", "class_swap")},
    }
)
