"""What a reader needs to know of an exported model: ``model.json`` for programs, ``README.md`` for people."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcyclegan3d.config import Config
from tfcyclegan3d.version import __version__

SCHEMA_VERSION = 1
SAVED_MODEL, KERAS = FORMATS = ("savedmodel", "keras")
# What the folder holds and what it is, in the order in which a reader wants it; the first of them in every format.
FILES = {
    "README.md": "how to use all this",
    "model.json": "this description",
    "config.json": "all settings of the training",
    "image_to_mask.keras": "the network for tfcyclegan3d, float32, from [-1, 1] to [-1, 1]",
    "image_to_probability.keras": "the network for Keras alone, float32, from [-1, 1] to [0, 1]",
    "rdf.yaml": "description for BioImage.IO",
    "test_input.npy": "an input to test with, on the network's grid",
    "test_output.npy": "what it gives",
}
SAVED_MODEL_FILES = {
    "saved_model.pb": "the network with its preprocessing for TensorFlow alone",
    "variables": "its weights",
    "fingerprint.pb": "its checksum",
    "saved_model.zip": "these three for BioImage.IO",
}
UNDECIDED = "chosen by whoever trained them"
FROM_MANIFEST = ("version", "seed", "method", "preset", "verdict", "selected", "started")

_SAVED_MODEL_USE = """\
```python
import numpy as np
import tensorflow as tf

model = tf.saved_model.load("{folder}")
stack = np.load("{folder}/test_input.npy")  # yours: intensities as they come, float32, axes BZYXC, channels {classes}
result = model.signatures["predict_intensities"](intensities=tf.constant(stack))
probabilities = result["probabilities"].numpy()  # in [0, 1], of the same shape
mask = probabilities > {threshold}
```

`predict_intensities` stretches the contrast of each stack and channel, brings it to the network's grid, segments it in
one go and brings the result back: stacks of any size, as long as memory lasts. `predict_patches`, also
`serving_default`, takes patches that are prepared already: on the network's grid, in [-1, 1], sides a multiple of
{multiple}. Java loads the folder with `SavedModelBundle.load`, C++ with `tensorflow::LoadSavedModel`, tag `serve`.
"""
_KERAS_USE = """\
```python
import keras
import numpy as np

model = keras.saving.load_model("{folder}/image_to_probability.keras")
patches = np.load("{folder}/test_input.npy")  # float32, axes BZYXC, channels {classes}
{stretching}probabilities = model.predict(patches)  # in [0, 1], of the same shape
mask = probabilities > {threshold}
```

It takes patches that are prepared as `model.json` says: on the network's grid, in [-1, 1], sides a multiple of
{multiple}.
"""
_README = """\
# {name}

Segments {classes} in 3D fluorescence stacks, one channel a class. {trained}

{use}
With the package, whole stacks of any size: `tfcyclegan3d predict {folder} --images stack.tif -o masks`.

One voxel of the network's grid is {downsampling} voxels (z, y, x) of the stacks it was trained on. Contrast is
stretched so that of each channel of a whole stack these percentiles become -1 and 1: {percentiles}; what lies outside
is clipped. {voxel_size}

## Validation

Score it on stacks with a truth before you rely on it: `tfcyclegan3d evaluate --prediction masks --truth truth.tif`.
It saw no other microscope, magnification or sample than those it was trained on.

## Licence

The package that made this is under the MIT licence. {license}
"""


def describe(
    name: str,
    config: Config,
    multiple: int,
    manifest: dict[str, Any],
    form: str,
    *,
    authors: Sequence[str] = (),
    weights_license: str | None = None,
) -> dict[str, Any]:
    """Return what ``model.json`` holds.

    Parameters
    ----------
    name : str
        Of the run.
    config : Config
        Of the run, with nothing left open.
    multiple : int
        What Z, Y and X of the network's input are multiples of.
    manifest : dict
        The run's; empty where it has none.
    form : {"savedmodel", "keras"}
        What is exported.
    authors : sequence of str
        Who trained it, as far as that is to be told.
    weights_license : str, optional
        Of the weights.
    """
    pairs = np.broadcast_to(config.preprocessing.percentiles, (len(config.classes), 2))
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "format": form,
        "package": {"name": "tfcyclegan3d", "version": __version__, "license": "MIT"},
        "authors": list(authors),
        "weights_license": weights_license or UNDECIDED,
        "classes": list(config.classes),
        "n_channels": len(config.classes),
        "axes": "BZYXC",
        "input": {
            "dtype": "float32",
            "range": [-1, 1],
            "spatial_multiple": multiple,
            "meaning": "stretched intensities on the network's grid, channel k showing class k",
        },
        "output": {
            "dtype": "float32",
            "range": [0, 1],
            "meaning": "probability of each class, channel k being class k; "
            "image_to_mask.keras gives 2 p - 1, in [-1, 1], instead",
        },
        "preprocessing": {
            "downsampling": list(config.preprocessing.downsampling),
            "percentiles": pairs.tolist(),
        },
        "inference": json.loads(json.dumps(dataclasses.asdict(config.inference))),
        "threshold": config.inference.threshold,
        "voxel_size_um": manifest.get("voxel_size_um"),
        "training": training_of(manifest),
        "files": FILES | (SAVED_MODEL_FILES if form == SAVED_MODEL else {}),
    }


def training_of(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return what others may know of a training: no paths and no machine; None where no manifest tells."""
    if not manifest:
        return None
    inputs = [{"name": one.get("name"), "sha256": one.get("sha256")} for one in manifest.get("inputs", [])]
    return {**{key: manifest.get(key) for key in FROM_MANIFEST}, "inputs": inputs}


def read_manifest(run: Path) -> dict[str, Any]:
    """Return a run's manifest, or nothing where it is missing or damaged: a model can be used without."""
    try:
        manifest = json.loads((run / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def readme(description: dict[str, Any], folder: str, *, raw: bool) -> str:
    """Return ``README.md``.

    Parameters
    ----------
    description : dict
        From ``describe``.
    folder : str
        Name of the exported folder.
    raw : bool
        Whether ``test_input.npy`` holds intensities that still have to be stretched.
    """
    preparation, training = description["preprocessing"], description["training"] or {}
    low, high = preparation["percentiles"][0]
    stretching = (
        f"low, high = np.percentile(patches, ({low:g}, {high:g}), axis=(1, 2, 3), keepdims=True)  # of a whole stack\n"
        "patches = np.clip((patches - low) * (2 / (high - low)) - 1, -1, 1)\n"
    )
    size = description["voxel_size_um"]
    filled = {
        "name": description["name"],
        "folder": folder,
        "classes": ", ".join(description["classes"]),
        "threshold": description["threshold"],
        "multiple": description["input"]["spatial_multiple"],
        "downsampling": " x ".join(str(factor) for factor in preparation["downsampling"]),
        "percentiles": "; ".join(
            f"{name} {low:g} and {high:g}"
            for name, (low, high) in zip(description["classes"], preparation["percentiles"], strict=True)
        ),
        "trained": f"Trained as {training['method']}, seed {training['seed']}, which ended as {training['verdict']}."
        if training
        else "Nothing is recorded of its training.",
        "voxel_size": f"Their voxels were {' x '.join(f'{side:g}' for side in size)} um (z, y, x)."
        if size
        else "The size of their voxels is not recorded; objects should be about as many voxels across as in those.",
        "stretching": stretching if raw else "",
        "license": "The weights belong to whoever trained them, who\nchooses their licence: "
        "`tfcyclegan3d export` takes it with `--license`, and names with `--author`."
        if description["weights_license"] == UNDECIDED
        else f"The weights are under {description['weights_license']}.",
    }
    use = _SAVED_MODEL_USE if description["format"] == SAVED_MODEL else _KERAS_USE
    return _README.format(**filled, use=use.format(**filled))
