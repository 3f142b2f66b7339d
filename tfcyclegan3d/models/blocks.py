"""The blocks the networks are made of, as functions of Keras tensors."""

from __future__ import annotations

import keras
from keras import layers

from tfcyclegan3d.models.layers import InstanceNormalization

NORMALIZATIONS = ("instance", "batch", "none")


def initializer(normalization: str, seed: int) -> keras.initializers.Initializer:
    """Return the kernels' initialiser.

    Normal(0, 0.02) as in the CycleGAN paper where a normalisation sets the scale; He's where none does, since
    Normal(0, 0.02) would then shrink the signal from layer to layer.
    """
    if normalization == "none":
        return keras.initializers.HeNormal(seed=seed)
    return keras.initializers.RandomNormal(stddev=0.02, seed=seed)


class Blocks:
    """Build convolution blocks that share a normalisation, a precision and a stream of seeds.

    Parameters
    ----------
    normalization : {"instance", "batch", "none"}
        After each convolution.
    dtype : str
        Keras dtype policy of every layer, for example ``"mixed_bfloat16"``.
    seed : int
        Of the first initialiser; each further convolution takes the next number.
    he : bool
        Initialise as He et al. do (ICCV 2015) whatever the normalisation, as networks trained on pairs usually are.
    """

    def __init__(self, normalization: str, dtype: str, seed: int, *, he: bool = False) -> None:
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization is {normalization!r}: give one of {', '.join(NORMALIZATIONS)}")
        self.normalization = normalization
        self.dtype = dtype
        self._seed = seed
        self._he = he

    def convolve(self, x, filters: int, size: int, strides: int = 1, name: str | None = None):
        """Convolve ``x`` (BZYXC) with a ``size``-cubed kernel, padding by zeros to keep (or divide) the shape."""
        return layers.Conv3D(
            filters, size, strides=strides, padding="same", kernel_initializer=self._next(), dtype=self.dtype, name=name
        )(x)

    def convolve_up(self, x, filters: int, size: int = 3):
        """Double the spatial shape of ``x`` by a transposed convolution of stride 2."""
        return layers.Conv3DTranspose(
            filters, size, strides=2, padding="same", kernel_initializer=self._next(), dtype=self.dtype
        )(x)

    def normalize(self, x):
        """Apply the normalisation, if there is one."""
        if self.normalization == "instance":
            return InstanceNormalization(dtype=self.dtype)(x)
        if self.normalization == "batch":
            return layers.BatchNormalization(dtype=self.dtype)(x)
        return x

    def activate(self, x, slope: float = 0.0):
        """Apply ReLU, leaky with a ``slope`` above 0."""
        return layers.LeakyReLU(slope, dtype=self.dtype)(x) if slope else layers.ReLU(dtype=self.dtype)(x)

    def residual(self, x, filters: int, join: str = "add"):
        """Join to ``x`` what two normalised 3x3x3 convolutions make of it.

        ``join`` is ``"add"``, for which ``x`` has ``filters`` channels, or ``"concatenate"``, which returns ``filters``
        channels more than ``x`` has.
        """
        y = self.activate(self.normalize(self.convolve(x, filters, 3)))
        y = self.normalize(self.convolve(y, filters, 3))
        joining = layers.Concatenate if join == "concatenate" else layers.Add
        return joining(dtype=self.dtype)([y, x])

    def _next(self) -> keras.initializers.Initializer:
        self._seed += 1
        return initializer("none" if self._he else self.normalization, self._seed)
