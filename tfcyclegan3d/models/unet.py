"""The 3D U-Net, the paper's first supervised reference."""

from __future__ import annotations

import keras
from keras import layers

from tfcyclegan3d.models.blocks import Blocks
from tfcyclegan3d.models.outputs import outputs_of


def unet(
    n_inputs: int,
    n_outputs: int,
    *,
    filters: int = 32,
    levels: int = 4,
    normalization: str = "batch",
    dtype: str = "float32",
    seed: int = 0,
    name: str = "image_to_mask",
) -> keras.Model:
    """Build a 3D U-Net: two 3x3x3 convolutions a level, maxima of 2x2x2 down, transposed 2x2x2 convolutions up.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels of the input and of the output.
    filters : int
        Of the first level's convolutions, doubled from level to level; the published code uses 32.
    levels : int
        Resolutions, the full one among them; 4 in the published code.
    normalization : {"instance", "batch", "none"}
        After every convolution but the last and the transposed ones.
    dtype : str
        Keras dtype policy; the maxima and the last layers always compute in float32.
    seed : int
        Of the initial weights.
    name : str
        Of the model.

    Returns
    -------
    keras.Model
        From BZYXC in [-1, 1] to BZYXC in (-1, 1), float32, for any Z, Y and X that are multiples of
        ``2 ** (levels - 1)``. The layer ``"logits"`` holds the values before tanh, half the logits of the published
        code's sigmoid: the probability (tanh(x) + 1) / 2 is sigmoid(2 x).

    References
    ----------
    Çiçek et al., "3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation", MICCAI 2016.
    """
    build = Blocks(normalization, dtype, seed, he=True)

    def twice(x, width: int):
        for _ in range(2):
            x = build.activate(build.normalize(build.convolve(x, width, 3)))
        return x

    inputs = keras.Input((None, None, None, n_inputs), name="input")

    # --- down
    x, skips = twice(inputs, filters), []
    for level in range(1, levels):
        skips.append(x)
        # In float32: TensorFlow has no maxima of float16 on a CPU, and slow ones of bfloat16. They are the same.
        x = twice(layers.MaxPooling3D(2, dtype="float32")(x), filters * 2**level)

    # --- up
    for level, skip in reversed(list(enumerate(skips))):
        x = build.convolve_up(x, filters * 2**level, 2)
        x = twice(layers.Concatenate(dtype=dtype)([skip, x]), filters * 2**level)
    return keras.Model(inputs, outputs_of(build.convolve(x, n_outputs, 1)), name=name)
