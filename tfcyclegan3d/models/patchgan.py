"""The critics: 3D PatchGANs that say, place by place, how real a patch looks."""

from __future__ import annotations

import keras

from tfcyclegan3d.models.blocks import Blocks


def patchgan(
    n_inputs: int,
    *,
    filters: int = 64,
    levels: int = 4,
    last_filters: int | None = None,
    normalization: str = "instance",
    dtype: str = "float32",
    seed: int = 0,
    name: str = "mask_critic",
) -> keras.Model:
    """Build C64-C128-C256-C512 of stride 2, then C512 and one output channel of stride 1, all 4x4x4.

    The critic of Vox2Vox is that of the channels of image and mask together, with ``levels=3, last_filters=512``.

    Parameters
    ----------
    n_inputs : int
        Channels of the input.
    filters : int
        Of the first convolution (64 in the paper); doubled up to 8 times that.
    levels : int
        Convolutions of stride 2 (4 in the published code): the output is 2 ** ``levels`` times smaller each way.
    last_filters : int, optional
        Of the convolution of stride 1; those of the last strided one without it.
    normalization : {"instance", "batch", "none"}
        After every convolution but the first and the last.
    dtype : str
        Keras dtype policy; the output is float32.
    seed : int
        Of the initial weights.
    name : str
        Of the model.

    Returns
    -------
    keras.Model
        From BZYXC in [-1, 1] to BZYX1, float32, without an activation: 1 for real, 0 for fake under least squares.

    References
    ----------
    Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017; Cirillo, Abramian,
    Eklund, "Vox2Vox: 3D-GAN for Brain Tumour Segmentation", arXiv:2003.13653, section 2.2.
    """
    build = Blocks(normalization, dtype, seed)
    inputs = keras.Input((None, None, None, n_inputs), name="input")
    x = build.activate(build.convolve(inputs, filters, 4, strides=2), slope=0.2)
    for level in range(1, levels):
        width = filters * min(2**level, 8)
        x = build.activate(build.normalize(build.convolve(x, width, 4, strides=2)), slope=0.2)
    x = build.activate(build.normalize(build.convolve(x, last_filters or x.shape[-1], 4)), slope=0.2)
    x = build.convolve(x, 1, 4)
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32", name="output")(x), name=name)
