"""A network and all that is done around it as one TensorFlow module, to be saved as a SavedModel."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfcyclegan3d.config import Config
from tfcyclegan3d.exporting import operations
from tfcyclegan3d.models.mirrors import MIRRORS
from tfcyclegan3d.models.outputs import halved_at
from tfcyclegan3d.models.quick import quickened
from tfcyclegan3d.models.strides import multiple_of

DEFAULT = "serving_default"


class ServedModel(tf.Module):
    """What a SavedModel offers: ``predict_patches`` and ``predict_intensities``.

    Parameters
    ----------
    network : keras.Model
        From BZYXC in [-1, 1] to the same.
    config : Config
        Of its run, with nothing left open.
    """

    def __init__(self, network: keras.Model, config: Config) -> None:
        super().__init__(name="tfcyclegan3d")
        quick = quickened(network, "float32")
        self._config, self._multiple = config, multiple_of(network)
        # In a function, where TensorFlow does not find it: the SavedModel then holds variables and no Keras object.
        self._forward = lambda batch: quick(batch, training=False)
        self.model_variables = [variable.value for variable in quick.variables]
        n_channels = len(config.classes)

        def function(method, name: str):
            return tf.function(method, input_signature=[tf.TensorSpec((None,) * 4 + (n_channels,), name=name)])

        self.predict_patches = function(self._predict_patches, "patches")
        self.predict_intensities = function(self._predict_intensities, "intensities")

    def save(self, folder: str) -> None:
        """Write the SavedModel; ``serving_default`` is ``predict_patches``."""
        patches = self.predict_patches.get_concrete_function()
        intensities = self.predict_intensities.get_concrete_function()
        signatures = {DEFAULT: patches, "predict_patches": patches, "predict_intensities": intensities}
        tf.saved_model.save(self, folder, signatures=signatures)

    def _predict_patches(self, patches: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return probabilities of patches in [-1, 1], on the network's grid, in one pass."""
        shape = tf.shape(patches)[1:4]
        message = f"Z, Y and X of the patches must be multiples of {self._multiple}"
        with tf.control_dependencies([tf.debugging.assert_equal(shape % self._multiple, 0, message)]):
            return {"probabilities": self._moved(self._probabilities(tf.identity(patches)))}

    def _predict_intensities(self, intensities: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return probabilities of whole stacks as they come, on their own grid, each stretched by its percentiles."""
        preparation = self._config.preprocessing
        coarse = operations.downsample(intensities, preparation.downsampling)
        stretched = operations.stretch(coarse, preparation.percentiles)
        padded = operations.pad_to_multiple(stretched, self._multiple)
        mirrors = MIRRORS[self._config.inference.flips]
        total = tf.zeros_like(padded)
        for axes in mirrors:
            total += tf.reverse(self._probabilities(tf.reverse(padded, axes)), axes)
        cropped = operations.crop(total / len(mirrors), tf.shape(coarse)[1:4])
        fine = operations.upsample(cropped, preparation.downsampling, tf.shape(intensities)[1:4])
        return {"probabilities": self._moved(tf.clip_by_value(fine, 0.0, 1.0))}

    def _moved(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Move outlines to where a prediction by the package has them."""
        levels = self._config.inference.outline_levels
        if not levels:
            return probabilities
        of_classes = tf.unstack(probabilities, len(levels), axis=-1)
        return tf.stack([halved_at(level, one) for level, one in zip(levels, of_classes, strict=True)], axis=-1)

    def _probabilities(self, batch: tf.Tensor) -> tf.Tensor:
        return (self._forward(batch) + 1) / 2
