"""A trained model, and what it makes of whole stacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfcyclegan3d import errors, kernels
from tfcyclegan3d.config import Config
from tfcyclegan3d.inference import blocks, tile_shape
from tfcyclegan3d.inference.blocks import BlockPlan
from tfcyclegan3d.inference.prediction import Prediction, Settled, sample
from tfcyclegan3d.inference.reading import CoarseReader
from tfcyclegan3d.models.frozen import FrozenNetwork
from tfcyclegan3d.models.mirrors import mean_over_mirrors
from tfcyclegan3d.models.quick import quickened  # Importing it registers the networks' layers, too.
from tfcyclegan3d.models.strides import multiple_of
from tfcyclegan3d.models.trained import load_trained
from tfcyclegan3d.precision import policy_for
from tfcyclegan3d.sources import Source, open_source
from tfcyclegan3d.tiling import Shape, Tile
from tfcyclegan3d.volumes import Grid, Volume

OnTile = Callable[[int, int], None]


class SegmentationModel:
    """A trained ``image_to_mask`` network with the settings it was trained under.

    Parameters
    ----------
    image_to_mask : keras.Model
        From BZYXC in [-1, 1] to the same, with as many channels more where it learned centres.
    config : Config
        Of its run, with nothing left open.
    name : str
        What messages call it.
    """

    def __init__(self, image_to_mask: keras.Model, config: Config, name: str = "model") -> None:
        self.config = config
        self.name = name
        self.multiple = multiple_of(image_to_mask)
        kernels.warn_if_late()
        policy = policy_for(config.training.mixed_precision)
        if config.inference.statistics == "stack":
            self._frozen = FrozenNetwork(
                image_to_mask, policy, lambda function: tf.function(function, reduce_retracing=True)
            )
            network = self._frozen.folded
        else:
            self._frozen, network = None, quickened(image_to_mask, policy)
        self._forward = tf.function(lambda batch: network(batch, training=False), reduce_retracing=True)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the channels."""
        return self.config.classes

    def predict(self, volume: Volume, on_tile: OnTile | None = None) -> Volume:
        """Segment a whole stack of any size that is in memory.

        Contrast is stretched by the percentiles of the whole stack, and normalisations take their statistics from all
        over it unless the model's settings say otherwise.

        Parameters
        ----------
        volume : Volume
            One channel a class.
        on_tile : callable, optional
            Called with (blocks done, blocks in all).

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
        return self._predict(volume, on_tile, with_centres=False)

    def predict_with_centres(self, volume: Volume, on_tile: OnTile | None = None) -> tuple[Volume, Volume]:
        """Return the probabilities, and how far inside its object each voxel lies; otherwise as ``predict``.

        Returns
        -------
        (Volume, Volume)
            Both ZYXC float32 in [0, 1], one channel a class; the second is near 1 at the centres of objects.

        Raises
        ------
        ModelError
            For a model that learned no centres, beside what ``predict`` raises.
        """
        n_classes = len(self.classes)
        self.check_centres()
        both = self._predict(volume, on_tile, with_centres=True)
        return tuple(
            Volume(part, volume.voxel_size_um, volume.name)
            for part in (both.array[..., :n_classes], both.array[..., n_classes:])
        )

    def _predict(self, volume: Volume, on_tile: OnTile | None, *, with_centres: bool) -> Volume:
        source = open_source(volume)
        settled = self.settle(source)
        prediction = self.prediction(source, settled, with_centres=with_centres)
        probabilities = np.empty((*volume.shape, prediction.n_channels), np.float32)
        n_done = 0

        def write(place: Tile, values: np.ndarray) -> None:
            nonlocal n_done
            probabilities[place.slices] = values
            n_done += 1
            if on_tile is not None:
                on_tile(n_done, len(settled.plan.blocks))

        prediction.run(settled.plan.blocks, write)
        return Volume(probabilities, volume.voxel_size_um, volume.name)

    def segment(self, volume: Volume, on_tile: OnTile | None = None) -> Volume:
        """Return where the probability exceeds the run's threshold, ZYXC bool; otherwise as ``predict``."""
        return self.predict(volume, on_tile) > self.config.inference.threshold

    def check(self, grid: Grid) -> None:
        """Check that a stack has as many channels as the model has classes.

        Raises
        ------
        ModelError
        """
        if grid.n_channels != len(self.classes):
            raise errors.ModelError(
                self.name,
                f"segments {len(self.classes)} class(es), {', '.join(self.classes)}, but "
                f"{grid.name} has {grid.n_channels} channel(s)",
                "choose its channels with --channels, or another model",
            )

    @property
    def has_centres(self) -> bool:
        """Whether the model learned the centres of objects, too."""
        return self.config.n_mask_channels > len(self.classes)

    def check_centres(self) -> None:
        """Check that the model learned the centres of objects.

        Raises
        ------
        ModelError
        """
        if not self.has_centres:
            raise errors.ModelError(
                self.name, "learned no centres of objects", "train with --set synthesis.centres=true"
            )

    def settle(
        self, source: Source, largest: Sequence[int] | None = None, offset: Sequence[int] = (0, 0, 0)
    ) -> Settled:
        """Look through a stack and settle what all of its blocks share.

        Parameters
        ----------
        source : Source
            The stack; it is read twice, and patches of it once more.
        largest, offset
            See ``plan``.

        Raises
        ------
        ModelError, VolumeContentError
            As ``predict`` does.
        """
        self.check(source.grid)
        reader = CoarseReader(source, self.config.preprocessing)
        statistics = None
        if self._frozen is not None and self._frozen.needs_statistics:
            statistics = self._frozen.statistics_of(sample(reader, self.config, self.multiple))
        return Settled(reader.bounds, statistics, self.plan(reader.shape, largest, offset))

    def plan(
        self, shape: Sequence[int], largest: Sequence[int] | None = None, offset: Sequence[int] = (0, 0, 0)
    ) -> BlockPlan:
        """Return how a stack is divided.

        Parameters
        ----------
        shape : (int, int, int)
            Of the stack on the networks' grid.
        largest : (int, int, int), optional
            What no tile exceeds; what fits into memory and wastes least, if not given.
        offset : (int, int, int)
            Shift of the grid of blocks.

        Raises
        ------
        OptionError
            For tiles too small for their surroundings.
        """
        inference = self.config.inference
        if inference.statistics == "tile":
            unit = self.multiple
            tile = [max(side // unit, 1) * unit for side in largest or inference.tile_shape]
            return blocks.plan_overlapping(shape, tile, (inference.overlap,) * 3)
        if largest is None:
            n_voxels = tile_shape.voxels_for(self.config.model.filters)
            largest = tile_shape.least_work(shape, inference.halo, self.multiple, n_voxels)
        return blocks.plan_with_halo(shape, largest, inference.halo, self.multiple, offset)

    def coarse_shape(self, shape: Sequence[int]) -> Shape:
        """Return the shape of a stack on the networks' grid."""
        factors = self.config.preprocessing.downsampling
        z, y, x = (-(-side // factor) for side, factor in zip(shape, factors, strict=True))
        return z, y, x

    def prediction(self, source: Source, settled: Settled, *, with_centres: bool = False) -> Prediction:
        """Return the prediction of a stack; the model predicts one stack at a time.

        ``with_centres`` adds those of the classes in as many channels more.
        """
        if settled.statistics is not None:
            self._frozen.set_statistics(settled.statistics)
        reader = CoarseReader(source, self.config.preprocessing, settled.bounds)
        n_channels = self.config.n_mask_channels if with_centres else len(self.classes)

        def probabilities(batch: np.ndarray) -> np.ndarray:
            return self._probabilities(batch)[..., :n_channels]

        return Prediction(reader, source.grid.shape, self.config, settled.plan, probabilities, n_channels)

    def _probabilities(self, batch: np.ndarray) -> np.ndarray:
        made = mean_over_mirrors(
            lambda mirrored: self._forward(tf.constant(mirrored)).numpy(), batch, self.config.inference.flips
        )
        return (made + 1) / 2


def load_model(path: str | Path, changes: Mapping[str, object] | None = None) -> SegmentationModel:
    """Load a run folder, or what ``export`` made of one.

    Parameters
    ----------
    path : str or Path
        The folder.
    changes : mapping, optional
        Settings that differ from the run's, by dotted key; those of ``inference`` have an effect.

    Raises
    ------
    FileMissingError, ModelError
        Where it is neither, holds no network yet, or holds a damaged one, or one of foreign layers.
    ConfigError, UnknownKeyError
        For changes that cannot be.
    """
    network, config = load_trained(path)
    return SegmentationModel(network, config.replace(dict(changes or {})), Path(path).name)
