"""A trained model for others: a folder that TensorFlow, Keras, BioImage.IO and this package can load."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfcyclegan3d import errors
from tfcyclegan3d.config import Config
from tfcyclegan3d.exporting import bioimage
from tfcyclegan3d.exporting.description import (
    FILES,
    FORMATS,
    SAVED_MODEL,
    SAVED_MODEL_FILES,
    describe,
    read_manifest,
    readme,
)
from tfcyclegan3d.exporting.folder import whole_folder
from tfcyclegan3d.exporting.served import ServedModel
from tfcyclegan3d.models.outputs import move_levels
from tfcyclegan3d.models.portable import in_float32, portable, with_first_outputs
from tfcyclegan3d.models.strides import multiple_of
from tfcyclegan3d.models.trained import load_trained


def export_model(
    run: str | Path,
    output: str | Path,
    format: str = SAVED_MODEL,
    overwrite: bool = False,
    *,
    authors: Sequence[str] = (),
    weights_license: str | None = None,
) -> Path:
    """Write a trained model for others, with a description of what it takes and gives.

    Parameters
    ----------
    run : str or Path
        A run folder, of any method.
    output : str or Path
        The folder to write: networks in float32, settings, ``model.json``, ``README.md``, and ``rdf.yaml`` with tensors
        to test by. With ``"savedmodel"`` it is a SavedModel, too.
    format : {"savedmodel", "keras"}
        What others can load: TensorFlow alone and Keras alone, or only Keras.
    overwrite : bool
        Replace an earlier export that is there.
    authors : sequence of str
        Who trained it, for the description.
    weights_license : str, optional
        Licence of the weights, as SPDX names it, for example ``"CC-BY-4.0"``.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OptionError
        For another format.
    FileMissingError, ModelError, ConfigError, UnknownKeyError
        For a run that is none, or holds no network that can be loaded.
    OutputExistsError, OutputError
        For an output that exists or cannot be written; nothing is left of it then.
    """
    run, output = Path(run), Path(output)
    if format not in FORMATS:
        raise errors.OptionError("format", format, f"give one of {', '.join(FORMATS)}")
    network, config = load_trained(run)
    if config.n_mask_channels > len(config.classes):  # What others ask for is masks.
        network = with_first_outputs(network, len(config.classes))
        config = config.replace({"synthesis.centres": False})
    with whole_folder(output, overwrite, {*FILES, *SAVED_MODEL_FILES}) as folder, _tensorflow_writing(output):
        probabilities = _write_networks(folder, network, config, format)
        config.save(folder / "config.json")
        naming = {"authors": authors, "weights_license": weights_license}
        multiple, manifest = multiple_of(network), read_manifest(run)
        description = describe(run.resolve().name, config, multiple, manifest, format, **naming)
        _describe_all(folder, description, config, probabilities, output.resolve().name)
    return output


def _write_networks(folder: Path, network: keras.Model, config: Config, form: str) -> keras.Model:
    """Write what computes; return the network that gives probabilities."""
    network = in_float32(network)
    network.save(folder / "image_to_mask.keras")
    if form == SAVED_MODEL:
        ServedModel(network, config).save(str(folder))
        if (folder / "assets").is_dir():  # Always empty.
            (folder / "assets").rmdir()
        _zip_saved_model(folder)
    if config.inference.outline_levels is not None:  # Who loads the network alone knows nothing of them.
        move_levels(network, dict(enumerate(config.inference.outline_levels)))
    probabilities = portable(network)
    probabilities.save(folder / "image_to_probability.keras")
    return probabilities


def _describe_all(
    folder: Path, description: dict[str, Any], config: Config, probabilities: keras.Model, name: str
) -> None:
    """Write the descriptions, in which the folder has a name, and the tensors to test by."""
    shared = bioimage.shared_percentiles(config)
    patches = bioimage.test_input(config, description["input"]["spatial_multiple"])
    prepared = patches if shared is None else bioimage.stretched(patches, config)
    np.save(folder / "test_input.npy", patches)
    np.save(folder / "test_output.npy", probabilities(prepared, training=False).numpy())
    bioimage.write_description(folder, description, config)
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme(description, name, raw=shared is not None), encoding="utf-8")


def _zip_saved_model(folder: Path) -> None:
    """Pack the SavedModel into ``saved_model.zip``, with ``saved_model.pb`` at its root."""
    names = [name for name in SAVED_MODEL_FILES if not name.endswith(".zip")]
    with zipfile.ZipFile(folder / "saved_model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            for path in sorted((folder / name).rglob("*")) if (folder / name).is_dir() else [folder / name]:
                archive.write(path, path.relative_to(folder))


@contextmanager
def _tensorflow_writing(output: Path) -> Iterator[None]:
    """Turn what TensorFlow says of a disk into an error that names the output; keep its progress to itself."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except tf.errors.OpError as error:
        raise errors.OutputError(output, error.message.splitlines()[0]) from error
    finally:
        logger.setLevel(level)
