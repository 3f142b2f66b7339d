"""The same networks, computed faster: other operations, the same functions of the same weights."""

from __future__ import annotations

import keras
from keras import ops

from tfcyclegan3d.models.layers import InstanceNormalization
from tfcyclegan3d.models.resnet_generator import OUTPUT_NORMALIZATION

# Below so many filters, a convolution leaves most lanes of a processor's vectors empty.
FEW_FILTERS = 4
# Of the input's channels: with 8 or 12, oneDNN's strided 8^3 kernels in bfloat16 give garbage where there is AMX.
CHANNELS_IN_MULTIPLES_OF = 16


class BlockedConv3D(keras.layers.Conv3D):
    """A convolution of few filters that computes 2 x 2 x 2 neighbouring outputs as the channels of one.

    The outputs ``y[2 i + a]``, a in {0, 1}^3, of a kernel of k^3 are a convolution of stride 2 with kernels of
    (k + 1)^3, each the given one shifted by a: ``sum_j K[j - a] x[2 i + j - (k - 1) / 2]``. That is (1 + 1/k)^3 times
    the operations, with eight times the filters. Weights and results are those of ``keras.layers.Conv3D``, to rounding.

    Odd kernels, stride 1, padding ``"same"``, channels last, input channels in multiples of 16 and even Z, Y and X only
    (see ``quickened``).

    References
    ----------
    Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
    Network", CVPR 2016, section 3.2, whose periodic shuffling this is backwards.
    """

    def call(self, inputs):
        """Return the convolution of ``inputs`` (BZYXC)."""
        depth = inputs.shape[1]
        if depth is not None and depth <= self.kernel_size[0] + 1:
            # oneDNN's gradient of a strided kernel as deep as its input is garbage on processors with AVX-512.
            return super().call(inputs)
        offsets = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
        shifted = [ops.pad(self.kernel, [*((one, 1 - one) for one in offset), (0, 0), (0, 0)]) for offset in offsets]
        blocks = ops.conv(inputs, ops.concatenate(shifted, axis=-1), strides=2, padding="same")
        n, z, y, x, _ = ops.shape(blocks)
        outputs = ops.transpose(ops.reshape(blocks, (n, z, y, x, 2, 2, 2, self.filters)), (0, 1, 4, 2, 5, 3, 6, 7))
        outputs = ops.reshape(outputs, (n, 2 * z, 2 * y, 2 * x, self.filters))
        if self.use_bias:
            outputs += self.bias
        return self.activation(outputs)


class EvenConv3D(keras.layers.Conv3D):
    """A convolution of an odd number of channels that computes one more, of zeros.

    Processors multiply bfloat16 numbers in pairs, and oneDNN's forward pass does without them where one channel is left
    over. Weights and results are those of ``keras.layers.Conv3D``, to rounding.

    Channels last, one group (see ``quickened``).
    """

    def call(self, inputs):
        """Return the convolution of ``inputs`` (BZYXC)."""
        kernel = ops.concatenate([self.kernel, ops.zeros_like(self.kernel[..., :1, :])], -2)
        # Not ``ops.pad``, which TensorFlow takes for padding of space when it joins it with the convolution.
        inputs = ops.concatenate([inputs, ops.zeros_like(inputs[..., :1])], -1)
        outputs = ops.conv(inputs, kernel, self.strides, self.padding, self.data_format, self.dilation_rate)
        if self.use_bias:
            outputs += self.bias
        return self.activation(outputs)


def quickened(
    network: keras.Model, dtype: str | None = None, normalization: type[InstanceNormalization] = InstanceNormalization
) -> keras.Model:
    """Return a copy of a network, with weights of its own and the same values, that computes faster.

    Parameters
    ----------
    network : keras.Model
        Plain Keras layers and those of this package, for Z, Y and X that are multiples of 2; it is not changed, and is
        what to save.
    dtype : str, optional
        Keras dtype policy of the copy, but for activations, maxima, instance normalisations at the output and inputs,
        which keep theirs; the network's own without it.
    normalization : type
        Of its instance normalisations: one that computes the same in another way.

    Returns
    -------
    keras.Model
    """

    def convert(layer: keras.layers.Layer) -> keras.layers.Layer:
        settings = layer.get_config()
        if dtype is not None and not _keeps_its_type(layer):
            settings["dtype"] = dtype
        if isinstance(layer, InstanceNormalization):
            return normalization.from_config(settings)
        same = layer.__class__.from_config(settings)
        quick = _quick_kind(layer, same.compute_dtype)
        return same if quick is layer.__class__ else quick.from_config(settings)

    copy = keras.models.clone_model(network, clone_function=convert)
    copy.set_weights(network.get_weights())
    return copy


def _quick_kind(layer: keras.layers.Layer, dtype: str) -> type[keras.layers.Layer]:
    """Return the class that computes what a layer does, in numbers of a type, the fastest."""
    if type(layer) is not keras.layers.Conv3D or (layer.groups, layer.data_format) != (1, "channels_last"):
        return layer.__class__
    if _is_slow(layer):
        return BlockedConv3D
    return EvenConv3D if dtype == "bfloat16" and layer.kernel.shape[-2] % 2 == 1 else layer.__class__


def _is_slow(layer: keras.layers.Conv3D) -> bool:
    return (
        layer.filters <= FEW_FILTERS
        and layer.kernel.shape[-2] % CHANNELS_IN_MULTIPLES_OF == 0
        and layer.strides == layer.dilation_rate == (1, 1, 1)
        and layer.padding == "same"
        and all(size % 2 == 1 for size in layer.kernel_size)
    )


def _keeps_its_type(layer: keras.layers.Layer) -> bool:
    kinds = keras.layers.InputLayer | keras.layers.Activation | keras.layers.MaxPooling3D
    return isinstance(layer, kinds) or layer.name == OUTPUT_NORMALIZATION
