"""Trained networks in files: what may be in one, so that loading it never runs code of whoever wrote it.

A ``.keras`` file names the classes to build it from. Keras' safe mode refuses code that such a file holds, but versions
before 3.9 still import and call whatever function it names (CVE-2025-1550), and later ones had holes of this kind, too.
A network of this package needs few classes, so no other is ever built.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from tfcyclegan3d import config as configuration
from tfcyclegan3d import errors
from tfcyclegan3d.config import Config
from tfcyclegan3d.models import layers as _own_layers  # noqa: F401  (registers them)

FILE = "image_to_mask.keras"
MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
OF_KERAS = {
    *("Functional", "InputLayer", "__keras_tensor__", "DTypePolicy"),
    *("Conv3D", "Conv3DTranspose", "MaxPooling3D", "Add", "Concatenate", "Dropout"),
    *("Activation", "ReLU", "LeakyReLU", "BatchNormalization"),
    *("Zeros", "Ones", "RandomNormal", "HeNormal", "GlorotUniform"),
}
OF_THIS_PACKAGE = {"InstanceNormalization"}
LONGEST_REASON = 200
WANTED = "give a run folder written by 'tfcyclegan3d train' or a model written by 'tfcyclegan3d export'"


def load_trained(folder: str | Path) -> tuple[keras.Model, Config]:
    """Load the segmenting network of a run folder, or of a folder that ``export`` wrote.

    Returns
    -------
    (keras.Model, Config)
        From BZYXC in [-1, 1] to the same; what it was trained under, with nothing left open.

    Raises
    ------
    FileMissingError, ModelError
        Where there is no such folder, or none with a network that can be loaded.
    ConfigError, UnknownKeyError
        For a damaged ``config.json``.
    """
    folder = Path(folder)
    if not folder.exists():
        raise errors.FileMissingError(folder, "run folder or exported model")
    if not (folder / "config.json").is_file():
        raise errors.ModelError(folder, "is no run folder or exported model: it has no config.json", WANTED)
    if not (folder / FILE).is_file():
        raise errors.ModelError(
            folder,
            f"holds no {FILE}: its training never finished an epoch",
            "train it further with 'tfcyclegan3d train --resume'",
        )
    config = configuration.load(folder / "config.json")
    network = load_network(folder / FILE)
    _check_together(folder, network, config)
    return network, config


def load_network(path: str | Path) -> keras.Model:
    """Load a network made of this package's layers, and of nothing else.

    Raises
    ------
    ModelError
        Where it is damaged, or would be built from anything but these layers.
    """
    path, saved_by = Path(path), keras.__version__
    try:
        saved_by = _check_content(path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, zipfile.BadZipFile) as error:
        # Keras puts the whole network into some of its messages, and the reason at their end.
        reason = str(error).rpartition("Exception encountered: ")[2][:LONGEST_REASON]
        remedy = "train again, or copy the folder whole from someone you trust"
        if saved_by != keras.__version__:
            reason += f", saved by Keras {saved_by}, while this is {keras.__version__}"
            remedy = f"install Keras {saved_by}, or {remedy}"
        raise errors.ModelError(path, f"cannot be loaded ({reason})", remedy) from error


def _check_content(path: Path) -> str:
    """Check files and classes before Keras looks at any of them; return the version of Keras that wrote them."""
    with zipfile.ZipFile(path) as archive:
        surplus = sorted(set(archive.namelist()) - MEMBERS)
        if surplus:
            raise ValueError(f"it holds {surplus[0]!r}, which no network of this package does")
        _check_classes(json.loads(archive.read("config.json")))
        return str(json.loads(archive.read("metadata.json"))["keras_version"])


def _check_classes(document: Any) -> None:
    if isinstance(document, dict):
        name, module = document.get("class_name"), document.get("module")
        if "class_name" in document and not _is_known(name, module):
            place = f" of module {module!r}" if module else ""
            raise ValueError(f"it asks for {name!r}{place}, which no network of this package is made of")
    for part in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        _check_classes(part)


def _is_known(name: Any, module: Any) -> bool:
    if module == "tfcyclegan3d.models.layers":
        return name in OF_THIS_PACKAGE
    return name in OF_KERAS and (module is None or module == "keras" or str(module).startswith("keras."))


def _check_together(folder: Path, network: keras.Model, config: Config) -> None:
    """Check that a configuration leaves nothing open and fits the network."""
    settled = {
        "classes": config.classes,
        "preprocessing.percentiles": config.preprocessing.percentiles,
        "preprocessing.downsampling": config.preprocessing.downsampling,
    }
    for key, value in settled.items():
        if value is None:
            raise errors.ModelError(folder, f"has a config.json that leaves {key} open", WANTED)
    channels = network.inputs[0].shape[-1], network.outputs[0].shape[-1]
    if channels != (len(config.classes), config.n_mask_channels):
        raise errors.ModelError(
            folder,
            f"has a config.json of {len(config.classes)} class(es) and a network of other channels",
            "copy the folder whole from its source",
        )
