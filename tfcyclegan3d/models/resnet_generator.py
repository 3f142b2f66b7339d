"""The generators: 3D ResNets that turn images into masks, or masks into images."""

from __future__ import annotations

import keras

from tfcyclegan3d.models.blocks import Blocks
from tfcyclegan3d.models.layers import InstanceNormalization
from tfcyclegan3d.models.outputs import outputs_of

OUTPUT_NORMALIZATION = "output_normalization"
RESIDUALS = ("add", "concatenate")
OUTPUT_NORMALIZATIONS = ("none", "instance")


def resnet_generator(
    n_inputs: int,
    n_outputs: int,
    *,
    filters: int = 32,
    blocks: int = 9,
    end_kernel: int = 7,
    residual: str = "add",
    normalization: str = "instance",
    output_normalization: str = "none",
    dtype: str = "float32",
    seed: int = 0,
    name: str = "image_to_mask",
) -> keras.Model:
    """Build c7s1-n, d2n, d4n, R4n x ``blocks``, u2n, un, c7s1-outputs, tanh, with n = ``filters``.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Channels of the input and of the output.
    filters : int
        Of the first convolution; doubled by each of the two strided ones. The published code uses 32.
    blocks : int
        Residual blocks, 9 in the published code.
    end_kernel : int
        Side of the first and the last kernel, 7 in the CycleGAN paper.
    residual : {"add", "concatenate"}
        What a block does with its input: add it, as in the CycleGAN paper, or keep it beside its own 4n channels, as
        in the published code, where nine blocks so make 128 channels 1280.
    normalization : {"instance", "batch", "none"}
        After every convolution but the last.
    output_normalization : {"none", "instance"}
        After the last convolution: none in the CycleGAN paper, an instance normalisation in the published code.
    dtype : str
        Keras dtype policy; the last layers always compute in float32.
    seed : int
        Of the initial weights.
    name : str
        Of the model.

    Returns
    -------
    keras.Model
        From BZYXC in [-1, 1] to BZYXC in (-1, 1), float32, for any Z, Y and X that are multiples of 4. The layer
        named ``"logits"`` holds the values before tanh.

    References
    ----------
    Zhu et al., "Unpaired Image-to-Image Translation Using Cycle-Consistent Adversarial Networks", ICCV 2017,
    appendix 7.2, whose notation this follows; Johnson et al., ECCV 2016.
    """
    if residual not in RESIDUALS:
        raise ValueError(f"residual is {residual!r}: give one of {', '.join(RESIDUALS)}")
    if output_normalization not in OUTPUT_NORMALIZATIONS:
        raise ValueError(
            f"output_normalization is {output_normalization!r}: give one of {', '.join(OUTPUT_NORMALIZATIONS)}"
        )
    build = Blocks(normalization, dtype, seed)

    # --- encoder
    inputs = keras.Input((None, None, None, n_inputs), name="input")
    x = build.activate(build.normalize(build.convolve(inputs, filters, end_kernel)))
    for width in (2 * filters, 4 * filters):
        x = build.activate(build.normalize(build.convolve(x, width, 3, strides=2)))

    # --- trunk
    for _ in range(blocks):
        x = build.residual(x, 4 * filters, residual)

    # --- decoder
    for width in (2 * filters, filters):
        x = build.activate(build.normalize(build.convolve_up(x, width)))
    x = build.convolve(x, n_outputs, end_kernel)

    # --- output, in float32 whatever the policy
    if output_normalization == "instance":
        x = InstanceNormalization(dtype="float32", name=OUTPUT_NORMALIZATION)(x)
    return keras.Model(inputs, outputs_of(x), name=name)
