"""A trained model, and what it makes of whole stacks."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfcyclegan3d import config as configuration
from tfcyclegan3d import errors, kernels, preprocessing
from tfcyclegan3d.config import Config
from tfcyclegan3d.inference.stitching import predict_tiles
from tfcyclegan3d.models.quick import quickened  # Importing it registers the networks' layers, too.
from tfcyclegan3d.precision import policy_for
from tfcyclegan3d.volumes import Volume, check_image

# Axes of a batch (BZYXC) that are mirrored for each pass of a prediction.
MIRRORS: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "plane": ((), (2,), (3,), (2, 3)),
    "all": ((), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)),
}

OnTile = Callable[[int, int], None]


class SegmentationModel:
    """A trained ``image_to_mask`` network with the settings it was trained under.

    Parameters
    ----------
    image_to_mask : keras.Model
        From BZYXC in [-1, 1] to the same.
    config : Config
        Of its run, with nothing left open.
    name : str
        What messages call it.
    """

    def __init__(self, image_to_mask: keras.Model, config: Config, name: str = "model") -> None:
        self.config = config
        self.name = name
        kernels.warn_if_late()
        network = quickened(image_to_mask, policy_for(config.training.mixed_precision))
        self._forward = tf.function(lambda batch: network(batch, training=False), reduce_retracing=True)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the channels."""
        return self.config.classes

    def predict(self, volume: Volume, on_tile: OnTile | None = None) -> Volume:
        """Segment a whole stack of any size.

        Contrast is stretched by the percentiles of the whole stack; overlapping tiles are merged.

        Parameters
        ----------
        volume : Volume
            One channel a class.
        on_tile : callable, optional
            Called with (tiles done, tiles in all).

        Returns
        -------
        Volume
            Probabilities, ZYXC float32 in [0, 1], on the stack's own grid.

        Raises
        ------
        ModelError
            For a stack with another number of channels.
        VolumeContentError
            For constant or not finite values.
        """
        self.check(volume)
        preparation, inference = self.config.preprocessing, self.config.inference
        coarse = preprocessing.downsample(volume.array, preparation.downsampling)
        stretched = preprocessing.stretch(coarse, preprocessing.stretch_bounds(coarse, preparation.percentiles))
        probabilities = predict_tiles(
            stretched,
            self._probabilities,
            inference.tile_shape,
            (inference.overlap,) * 3,
            n_outputs=len(self.classes),
            merge=inference.merge,
            on_tile=on_tile,
        )
        fine = preprocessing.upsample(probabilities, preparation.downsampling, volume.shape)
        return Volume(np.clip(fine, 0, 1), volume.voxel_size_um, volume.name)

    def check(self, volume: Volume) -> None:
        """Check that a stack can be segmented, before anything is computed.

        Raises
        ------
        ModelError, VolumeContentError
            As ``predict`` does.
        """
        if volume.n_channels != len(self.classes):
            raise errors.ModelError(
                self.name,
                f"segments {len(self.classes)} class(es), {', '.join(self.classes)}, but "
                f"{volume.name} has {volume.n_channels} channel(s)",
                "choose its channels with --channels, or another model",
            )
        check_image(volume)

    def segment(self, volume: Volume, on_tile: OnTile | None = None) -> Volume:
        """Return where the probability exceeds the run's threshold, ZYXC bool; otherwise as ``predict``."""
        return self.predict(volume, on_tile) > self.config.inference.threshold

    def _probabilities(self, batch: np.ndarray) -> np.ndarray:
        total = np.zeros_like(batch)
        mirrors = MIRRORS[self.config.inference.flips]
        for axes in mirrors:
            total += np.flip(self._forward(tf.constant(np.flip(batch, axes))).numpy(), axes)
        return (total / len(mirrors) + 1) / 2


def load_model(path: str | Path) -> SegmentationModel:
    """Load a run folder.

    Raises
    ------
    ModelError
        Where it is no run folder, holds no network yet, or holds a damaged one.
    """
    path = Path(path)
    if not path.exists():
        raise errors.FileMissingError(path, "run folder")
    if not (path / "config.json").is_file():
        raise errors.ModelError(path, "is no run folder: it has no config.json")
    network = path / "image_to_mask.keras"
    if not network.is_file():
        raise errors.ModelError(
            path,
            "holds no image_to_mask.keras: its training never finished an epoch",
            "train it further with 'tfcyclegan3d train --resume'",
        )
    try:
        model = keras.saving.load_model(network, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise errors.ModelError(
            network, f"cannot be loaded ({error})", "train again, or copy the run folder whole"
        ) from error
    return SegmentationModel(model, configuration.load(path / "config.json"), path.name)
