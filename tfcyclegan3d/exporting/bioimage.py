"""The description that BioImage.IO asks for: ``rdf.yaml``, with an input and an output to test by.

Written to version 0.5.8 of its specification of models, the first that knows Keras 3 (https://bioimage.io/docs).
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import yaml
from scipy import ndimage

from tfcyclegan3d import preprocessing
from tfcyclegan3d.config import Config
from tfcyclegan3d.exporting.description import SAVED_MODEL, UNDECIDED

FORMAT_VERSION = "0.5.8"
LARGEST_TEST = 64  # Voxels along each side of the input to test by.
PAPER = "Self-Supervised Segmentation of 3D Fluorescence Microscopy Images Using CycleGAN"
CITATIONS = (
    {
        "text": f"Rosa, Narotamo, Silveira: {PAPER}. EMBC 2023",
        "url": f"https://search.crossref.org/?q={PAPER.replace(' ', '+')}",
    },
    {
        "text": "Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation Using Cycle-Consistent Adversarial "
        "Networks. ICCV 2017",
        "doi": "10.1109/ICCV.2017.244",
    },
)
UNNAMED = "whoever trained this model (not named)"


def shared_percentiles(config: Config) -> tuple[float, float] | None:
    """Return the percentiles of all channels, or None where BioImage.IO cannot express those of the configuration.

    It stretches all channels alike, with an upper percentile above 1.
    """
    pairs = {tuple(pair) for pair in np.broadcast_to(config.preprocessing.percentiles, (len(config.classes), 2))}
    low, high = pairs.pop()
    return (float(low), float(high)) if not pairs and high > 1 else None


def test_input(config: Config, multiple: int) -> np.ndarray:
    """Return smooth noise, BZYXC float32, on the network's grid and as large as a tile up to 64 voxels a side.

    Intensities from 0 on, or, where BioImage.IO cannot express the stretching, stretched ones in [-1, 1].
    """
    sides = [-(-min(side, LARGEST_TEST) // multiple) * multiple for side in config.inference.tile_shape]
    shape = (*(max(side, 2 * multiple) for side in sides), len(config.classes))
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), (1.5, 1.5, 1.5, 0))
    intensities = (1000 * (noise - noise.min()) / np.ptp(noise)).round().astype(np.float32)
    if shared_percentiles(config) is None:
        intensities = stretched(intensities[np.newaxis], config)[0]
    return intensities[np.newaxis]


def stretched(batch: np.ndarray, config: Config) -> np.ndarray:
    """Stretch the contrast of every sample, BZYXC."""
    percentiles = config.preprocessing.percentiles
    return np.stack([preprocessing.stretch(one, preprocessing.stretch_bounds(one, percentiles)) for one in batch])


def write_description(folder: Path, description: dict[str, Any], config: Config) -> None:
    """Write ``rdf.yaml`` beside the files it describes.

    Parameters
    ----------
    folder : Path
        Where the networks and the test tensors are already.
    description : dict
        What ``model.json`` holds.
    config : Config
        Of the run.
    """
    classes = ", ".join(description["classes"])
    document = {
        "format_version": FORMAT_VERSION,
        "type": "model",
        "name": _permitted(f"tfcyclegan3d {classes} ({description['name']})")[:64],
        "description": f"Segments {classes} in 3D fluorescence microscopy stacks, trained without annotations"
        if config.method in ("cyclegan", "two-stage")
        else f"Segments {classes} in 3D fluorescence microscopy stacks",
        "authors": [{"name": name} for name in description["authors"] or [UNNAMED]],
        **({"license": license} if (license := description["weights_license"]) != UNDECIDED else {}),
        "cite": [dict(one) for one in CITATIONS],
        "documentation": "README.md",
        "tags": ["segmentation", "3d", "fluorescence-light-microscopy", "tensorflow", "tfcyclegan3d", *config.classes],
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "inputs": [_input(description, config)],
        "outputs": [_output(description, config)],
        "weights": _weights(folder, description["format"]),
        "config": {"tfcyclegan3d": {key: value for key, value in description.items() if key != "files"}},
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    (folder / "rdf.yaml").write_text(text, encoding="utf-8")


def _input(description: dict[str, Any], config: Config) -> dict[str, Any]:
    multiple, percentiles = description["input"]["spatial_multiple"], shared_percentiles(config)
    # Any size of which something is left without its halo.
    size = {"min": -(-(2 * _halo(config) + 1) // multiple) * multiple, "step": multiple}
    given = {
        "id": "patches",
        "description": f"On a grid coarser than the stack by {config.preprocessing.downsampling} (z, y, x)",
        "axes": _axes(description, lambda _: {"size": dict(size)}),
        "test_tensor": {"source": "test_input.npy"},
        "data": {"type": "float32"},
    }
    if percentiles is None:
        return given | {"data": {"type": "float32", "range": [-1.0, 1.0]}}
    scale = {"axes": ["z", "y", "x"], "min_percentile": percentiles[0], "max_percentile": percentiles[1]}
    steps = {
        "scale_range": scale,
        "scale_linear": {"gain": 2.0, "offset": -1.0},
        "clip": {"min": -1.0, "max": 1.0},
    }
    return given | {"preprocessing": [{"id": name, "kwargs": kwargs} for name, kwargs in steps.items()]}


def _output(description: dict[str, Any], config: Config) -> dict[str, Any]:
    halo = {"halo": _halo(config)} if _halo(config) else {}
    return {
        "id": "probabilities",
        "description": "Probability of each class",
        "axes": _axes(description, lambda axis: {"size": {"tensor_id": "patches", "axis_id": axis}, **halo}),
        "test_tensor": {"source": "test_output.npy"},
        "data": {"type": "float32", "range": [0.0, 1.0]},
    }


def _axes(description: dict[str, Any], size_of: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return B, Z, Y, X, C, with the size of a voxel of the network's grid where it is known."""
    size, factors = description["voxel_size_um"], description["preprocessing"]["downsampling"]
    coarse = [side * factor for side, factor in zip(size, factors, strict=True)] if size else []
    scales = [{"unit": "micrometer", "scale": side} for side in coarse] or [{}] * 3
    space = [{"type": "space", "id": axis, **size_of(axis), **scale} for axis, scale in zip("zyx", scales, strict=True)]
    return [{"type": "batch"}, *space, {"type": "channel", "channel_names": list(description["classes"])}]


def _halo(config: Config) -> int:
    """Return what to crop from each side of a tile: half of what tiles share, but less than half of the test."""
    return min(config.inference.overlap, LARGEST_TEST // 2) // 2


def _weights(folder: Path, form: str) -> dict[str, Any]:
    weights = {
        "keras_v3": {
            **_file(folder / "image_to_probability.keras"),
            "keras_version": keras.__version__,
            "backend": ["tensorflow", tf.__version__],
        }
    }
    if form == SAVED_MODEL:
        weights["tensorflow_saved_model_bundle"] = {
            **_file(folder / "saved_model.zip"),
            "tensorflow_version": tf.__version__,
            "parent": "keras_v3",
        }
    return weights


def _file(path: Path) -> dict[str, str]:
    return {"source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _permitted(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_+\- ()]", "-", name.replace(",", ""))
