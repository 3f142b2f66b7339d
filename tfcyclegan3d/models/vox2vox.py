"""Vox2Vox, the paper's second supervised reference: a generator, and a critic that sees image and mask together."""

from __future__ import annotations

import keras
from keras import layers

from tfcyclegan3d.models.blocks import Blocks
from tfcyclegan3d.models.outputs import outputs_of

SLOPE = 0.2  # Of the leaky activations.
N_BOTTLENECK = 4


def vox2vox_generator(
    n_inputs: int,
    n_outputs: int,
    *,
    filters: int = 64,
    dropout: float = 0.2,
    normalization: str = "instance",
    dtype: str = "float32",
    seed: int = 0,
    name: str = "image_to_mask",
) -> keras.Model:
    """Build C64-C128-C256 of stride 2, a bottleneck of 512, and the way back with skips; all kernels 4x4x4.

    This is the design of its own paper. The code published with the paper that this package reproduces differs: what
    its bottleneck concatenates is each convolution and its activation, which leaves 1024 channels (150,505,474
    parameters with 64 filters, not 226,002,946), and it drops values in encoder and decoder instead.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels of the input and of the output.
    filters : int
        Of the first convolution (64 in the published code); doubled three times.
    dropout : float
        Share of the values dropped after each convolution of the bottleneck.
    normalization : {"instance", "batch", "none"}
        After every convolution but the first and the last.
    dtype : str
        Keras dtype policy; the last layers always compute in float32.
    seed : int
        Of the initial weights and of the dropout.
    name : str
        Of the model.

    Returns
    -------
    keras.Model
        From BZYXC in [-1, 1] to BZYXC in (-1, 1), float32, for any Z, Y and X that are multiples of 16. The layer
        ``"logits"`` holds the values before tanh.

    References
    ----------
    Cirillo, Abramian, Eklund, "Vox2Vox: 3D-GAN for Brain Tumour Segmentation", arXiv:2003.13653, section 2.2.
    """
    build = Blocks(normalization, dtype, seed)
    inputs = keras.Input((None, None, None, n_inputs), name="input")

    # --- encoder
    x = build.activate(build.convolve(inputs, filters, 4, strides=2), slope=SLOPE)
    skips = [x]
    for width in (2 * filters, 4 * filters):
        x = build.activate(build.normalize(build.convolve(x, width, 4, strides=2)), slope=SLOPE)
        skips.append(x)

    # --- bottleneck: what each convolution gives stays beside what the next makes of it
    x = build.activate(build.normalize(build.convolve(x, 8 * filters, 4, strides=2)), slope=SLOPE)
    for k in range(N_BOTTLENECK):
        y = layers.Dropout(dropout, seed=seed + k, dtype=dtype)(build.convolve(x, 8 * filters, 4))
        x = layers.Concatenate(dtype=dtype)([x, build.activate(build.normalize(y), slope=SLOPE)])

    # --- decoder
    for skip in reversed(skips):
        x = build.activate(build.normalize(build.convolve_up(x, skip.shape[-1], 4)))
        x = layers.Concatenate(dtype=dtype)([x, skip])
    return keras.Model(inputs, outputs_of(build.convolve_up(x, n_outputs, 4)), name=name)
