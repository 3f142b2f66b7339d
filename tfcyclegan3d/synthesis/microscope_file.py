"""A microscope as a YAML file: written with the meaning of every strength beside it, read strictly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from tfcyclegan3d import errors
from tfcyclegan3d.strict import build
from tfcyclegan3d.synthesis.microscope import Microscope

HEADER = """\
# A simulated fluorescence microscope. Every strength is an interval [low, high] from which one value is drawn for each
# stack; a single number is always that. One left out takes its value from 'simulate --microscope clean'.
# Lengths are in voxels, brightness 1 is that of a typical object.
"""

MEANINGS = {
    "brightness": "of a channel's typical object",
    "object_spread": "deviation of the logarithm of brightness between objects",
    "texture": "relative deviation of the labelling inside an object, as grains",
    "texture_scale": "size of a grain, above 0",
    "shading": "share by which one side of an object is brighter and the other dimmer, at most 1",
    "rim": "share of the labelling missing inside objects: 1 labels their envelopes alone",
    "blur": "deviation of the point spread function in the plane, in the first plane",
    "blur_z_ratio": "the same along z, relative to that in the plane",
    "blur_growth": "relative growth of the blur from the first plane to the last",
    "haze": "share of the light that comes out of focus, at most 1",
    "haze_scale": "how wide that spreads",
    "bleed_through": "share of each other channel seen in a channel, at most 1",
    "background": "its level, above 0",
    "unevenness": "relative deviation of the background's slow changes",
    "debris": "bright specks per million voxels",
    "debris_brightness": "brightness of a speck",
    "attenuation": "share of the light lost from the first plane to the last, at most 1",
    "photons": "counted in a voxel of brightness 1, above 0: fewer are noisier",
    "read_noise": "deviation of the camera's noise, above 0",
}


def save_microscope(microscope: Microscope, path: str | Path) -> None:
    """Write a microscope as YAML, one line a strength, with its meaning."""
    entries = {
        name: f"{name}: [{', '.join(repr(float(end)) for end in interval)}]"
        for name, interval in dataclasses.asdict(microscope).items()
    }
    width = max(map(len, entries.values()))
    lines = [f"{entry:<{width}}  # {MEANINGS[name]}" for name, entry in entries.items()]
    Path(path).write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")


def load_microscope(path: str | Path) -> Microscope:
    """Read a microscope from a YAML or JSON file as ``save_microscope`` writes it.

    Raises
    ------
    FileMissingError
        Where there is no such file.
    MicroscopeError, UnknownKeyError, ConfigError, OptionError
        Where it cannot be read, names an unknown strength, or gives one that cannot be drawn.
    """
    path = Path(path)
    if not path.is_file():
        raise errors.FileMissingError(path, "file")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        remedy = "mend it, or let 'simulate' write one"
        raise errors.MicroscopeError(path, f"cannot be read ({error})", remedy) from error
    if not isinstance(document, dict):
        raise errors.MicroscopeError(
            path, "holds no strengths of a microscope", "write name: [low, high], or let 'simulate' write one"
        )
    try:
        return build(Microscope, {str(name): _interval(value) for name, value in document.items()}, "microscope.")
    except errors.UserError as error:
        raise error.of_file(path) from None


def _interval(value: Any) -> Any:
    """Return a single number as an interval, and anything else as it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return [value, value] if is_number else value
