"""Which type the convolutions compute in."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

_POLICIES = {"off": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def policy_for(mixed_precision: str) -> str:
    """Return the Keras dtype policy for a configured precision.

    Parameters
    ----------
    mixed_precision : {"auto", "off", "bfloat16", "float16"}
        ``auto`` takes float16 with loss scaling on a GPU, bfloat16 on a CPU that computes in it, float32 elsewhere.

    Returns
    -------
    {"float32", "mixed_bfloat16", "mixed_float16"}
    """
    if mixed_precision != "auto":
        return _POLICIES[mixed_precision]
    if tf.config.list_physical_devices("GPU"):
        return "mixed_float16"
    return "mixed_bfloat16" if _cpu_has_bfloat16() else "float32"


def scaled(optimizer: keras.optimizers.Optimizer, policy: str) -> keras.optimizers.Optimizer:
    """Wrap an optimiser so that it scales the loss, where the policy's small numbers would vanish without it.

    Keras does so by itself only for the optimiser given to ``compile``, which a step of one's own never calls.
    """
    return keras.optimizers.LossScaleOptimizer(optimizer) if policy == "mixed_float16" else optimizer


def _cpu_has_bfloat16() -> bool:
    """Say whether Linux lists bfloat16 instructions; without them it would be emulated, slower than float32."""
    try:
        return any(flag in Path("/proc/cpuinfo").read_text() for flag in ("amx_bf16", "avx512_bf16", " bf16"))
    except OSError:
        return False
