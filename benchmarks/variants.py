"""Ideas that the package does without, as changes to it while one training lasts: what accuracy.py compares with it.

Each was dropped for what it gave (docs/accuracy.md); here stands what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import keras
import numpy as np
import tensorflow as tf

from tfcyclegan3d.models.outputs import outputs_of
from tfcyclegan3d.thresholding import otsu_mask
from tfcyclegan3d.training import candidates, cyclegan_trainer, networks
from tfcyclegan3d.training.cyclegan import CycleGANStep
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.networks import MASK_TO_IMAGE, generator_of

SALIENCY, SALIENCY_DECAY, STEEPNESS = 10.0, 6.0, 6.0
BLUR_KERNEL = 9


def variant_of(configuration: str) -> AbstractContextManager[None]:
    """Return what a configuration changes in the package while it is trained; nothing for most."""
    change = VARIANTS.get(configuration)
    return change() if change else nullcontext()


@contextmanager
def _replaced(*replacements: tuple[object, str, object]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, value in replacements:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


class SalientStep(CycleGANStep):
    """Ties the mask of an image to what is brighter than Otsu's threshold, with a weight that decays.

    ``SALIENCY exp(-SALIENCY_DECAY share)`` of the adversarial part times the L1 to ``sigmoid(STEEPNESS (image -
    threshold))``, after Li et al., "Unsupervised content-preserving transformation for optical microscopy", Light:
    Science & Applications 10, 44 (2021), who tie both directions.
    """

    # Set when a training begins: by channel, of images as the networks see them; steps of the adversarial part.
    thresholds: np.ndarray
    n_steps_in_all: float

    def _generators_loss(self, image, *batch):
        loss, (terms, fake_mask, fake_image) = super()._generators_loss(image, *batch)
        share = tf.cast(self.n_steps, tf.float32) / self.n_steps_in_all
        salient = tf.sigmoid(STEEPNESS * (image - self.thresholds))
        away = tf.reduce_mean(tf.abs((fake_mask + 1) / 2 - salient))
        return loss + SALIENCY * tf.exp(-SALIENCY_DECAY * share) * away, (terms, fake_mask, fake_image)


def _saliency() -> AbstractContextManager[None]:
    initialise = CycleGANTrainer.__init__

    def with_thresholds(self, prepared, *rest) -> None:
        # Of each stack, the faintest that its threshold keeps.
        kept = [(image, otsu_mask(image, 0.0)) for image in prepared.images]
        training = prepared.config.training
        n_steps = training.epochs * training.steps_per_epoch
        SalientStep.thresholds = np.mean([np.where(mask, image, 1).min(axis=(0, 1, 2)) for image, mask in kept], axis=0)
        SalientStep.n_steps_in_all = n_steps * (1 - training.start_fraction)
        initialise(self, prepared, *rest)

    return _replaced((CycleGANTrainer, "__init__", with_thresholds), (cyclegan_trainer, "CycleGANStep", SalientStep))


class SpectralStep(CycleGANStep):
    """Divides kernels of the critics by their spectral norms, where these exceed 1, after each step.

    Norms are those of kernels as matrices of all inputs by outputs, by one power iteration a step, as in Miyato et al.,
    "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, who divide in each forward pass instead.
    """

    def __init__(self, *settings) -> None:
        super().__init__(*settings)
        self._kernels = [one for one in self._networks.critic_variables if one.name == "kernel"]
        random = np.random.default_rng(settings[4])
        self._vectors = [tf.Variable(random.normal(size=one.shape[-1]), dtype=tf.float32) for one in self._kernels]

    def _train_critics(self, *batch):
        found = super()._train_critics(*batch)
        with tf.control_dependencies([found]):
            for kernel, vector in zip(self._kernels, self._vectors, strict=True):
                matrix = tf.reshape(kernel.value, (-1, kernel.shape[-1]))
                left = tf.linalg.normalize(tf.linalg.matvec(matrix, vector))[0]
                right, norm = tf.linalg.normalize(tf.linalg.matvec(matrix, left, transpose_a=True))
                vector.assign(right)
                kernel.assign(kernel / tf.maximum(norm[0], 1.0))
        return found


def _spectral_norm() -> AbstractContextManager[None]:
    return _replaced((cyclegan_trainer, "CycleGANStep", SpectralStep))


def _as_mask_to_image(build: Callable) -> AbstractContextManager[None]:
    """Let ``build`` (model, channels of masks, of images, dtype, seed) make ``mask_to_image``."""

    def generator(config, n_inputs, dtype, seed, name, n_outputs=None):
        if name != MASK_TO_IMAGE:
            return generator_of(config, n_inputs, dtype, seed, name, n_outputs)
        return build(config, n_inputs, n_inputs if n_outputs is None else n_outputs, dtype, seed)

    return _replaced((networks, "generator_of", generator), (candidates, "generator_of", generator))


@keras.saving.register_keras_serializable("variants")
class LearnedNoise(keras.layers.Layer):
    """Adds normal noise in a training, as strong in each channel as is learned."""

    def build(self, shape):
        """Make the deviations."""
        self.deviations = self.add_weight(shape=(shape[-1],), initializer=keras.initializers.Constant(0.1))

    def call(self, inputs, training=False):
        """Return ``inputs`` (BZYXC), noisier."""
        if not training:
            return inputs
        return inputs + self.deviations * tf.random.normal(tf.shape(inputs), seed=0, dtype=inputs.dtype)


def _blurred(_, n_inputs: int, n_outputs: int, dtype: str, seed: int) -> keras.Model:
    """Build what blurs masks by one kernel and adds noise, each class as bright as it is: a microscope, roughly.

    A learned blur in place of a network (Han et al., "Nuclei counting in microscopy images with three dimensional
    generative adversarial networks", and others have one beside it).
    """
    inputs = keras.Input((None, None, None, n_inputs), name="input")
    # In the beginning, about what the mask is.
    kernel = keras.initializers.RandomNormal(1.5 / BLUR_KERNEL**3, 0.5 / BLUR_KERNEL**3, seed)
    x = keras.layers.Conv3D(n_outputs, BLUR_KERNEL, padding="same", kernel_initializer=kernel, dtype=dtype)(inputs)
    return keras.Model(inputs, outputs_of(LearnedNoise(dtype=dtype)(x)), name=MASK_TO_IMAGE)


@keras.saving.register_keras_serializable("variants")
class NoiseBeside(keras.layers.Layer):
    """Adds a channel of normal noise in a training, of nothing elsewhere."""

    def call(self, inputs, training=False):
        """Return ``inputs`` (BZYXC) and one more channel."""
        beside = tf.zeros_like(inputs[..., :1])
        if training:
            beside = tf.random.normal(tf.shape(beside), seed=0, dtype=beside.dtype)
        return tf.concat([inputs, beside], -1)

    def compute_output_shape(self, input_shape):
        """One channel more."""
        return (*input_shape[:-1], input_shape[-1] + 1)


def _with_noise(config, n_inputs: int, n_outputs: int, dtype: str, seed: int) -> keras.Model:
    """Build the same network for a mask and noise, since a mask says too little to draw an image from.

    As in Almahairi et al., "Augmented CycleGAN", ICML 2018, but for the encoder that would tell the noise of an image;
    and the L1 to the one rendering of each mask, here as in ``fast``, is least where the noise is ignored.
    """
    inputs = keras.Input((None, None, None, n_inputs), name="input")
    network = generator_of(config, n_inputs + 1, dtype, seed, MASK_TO_IMAGE, n_outputs)
    return keras.Model(inputs, _continued(network, NoiseBeside(dtype=dtype)(inputs)), name=MASK_TO_IMAGE)


def _continued(network: keras.Model, x):
    """Return what a network's own layers make of ``x``, so that they are those of the model it becomes part of."""
    made = {id(network.inputs[0]): x}
    for layer in network.layers[1:]:
        made[id(layer.output)] = layer(keras.tree.map_structure(lambda given: made[id(given)], layer.input))
    return made[id(network.outputs[0])]


VARIANTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "fast, saliency": _saliency,
    "fast, no start, saliency": _saliency,
    "fast, spectral norm": _spectral_norm,
    "fast, a blur as mask_to_image": lambda: _as_mask_to_image(_blurred),
    "fast, noise beside masks": lambda: _as_mask_to_image(_with_noise),
}
