"""What the metadata of an OME-Zarr says of its image, and what is written there.

Read are the versions 0.1 to 0.5 of https://ngff.openmicroscopy.org; written are 0.5 (zarr v3) and 0.4 (zarr v2).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfcyclegan3d import micrometres
from tfcyclegan3d.axes import UNKNOWN
from tfcyclegan3d.zarrs.folders import unreadable

VERSIONS = {3: "0.5", 2: "0.4"}
# By it, an image written here, and its names of classes, are told from those of other programs.
CREATOR = {"name": "tfcyclegan3d"}
# As the levels of images written here are stored.
AXES = "czyx"
# In which viewers show the channels of a stack that names no colours of its own; a single channel is white.
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255), (0, 255, 255), (255, 255, 0))
# Before version 0.3 the axes went without saying.
UNSAID = "TCZYX"


class Described(NamedTuple):
    """Level 0 of an image as its metadata describes it.

    Attributes
    ----------
    level : str
        Path of its array below the image.
    names : tuple of str
        One per dimension: T, C, Z, Y, X, or what else the file calls it.
    voxel_size_um : tuple of float, or None
        (z, y, x) where all three have a scale and a unit of length.
    """

    level: str
    names: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] | None


def describe_image(path: Path, attributes: dict[str, Any]) -> Described:
    """Return level 0 of the first multiscale image.

    A scale without a unit of length is no voxel size: where the unit is missing, it mostly counts pixels.

    Parameters
    ----------
    path : Path
        The folder, for messages.
    attributes : dict
        With ``multiscales``.

    Raises
    ------
    UnreadableFileError
        If the metadata lacks what the format requires.
    """
    try:
        multiscale = attributes["multiscales"][0]
        dataset = multiscale["datasets"][0]
        # Version 0.3 names axes by their letters alone.
        axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes") or UNSAID]
        names = tuple(_letter(str(axis["name"]), axis.get("type")) for axis in axes)
        scales = [_scale(one, len(axes)) for one in (dataset, multiscale)]
        sizes = {
            name: micrometres.in_um(finer * coarser, axis.get("unit"))
            for name, axis, finer, coarser in zip(names, axes, *scales, strict=True)
        }
        return Described(str(dataset["path"]), names, micrometres.voxel_size(*(sizes.get(letter) for letter in "ZYX")))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        reason = f"its multiscales metadata is incomplete or damaged: {type(error).__name__} {error}"
        raise unreadable(path, reason) from error


def letters_of(names: Sequence[str | None], shape: Sequence[int]) -> str:
    """Return a letter for each dimension's name: T, C, Z, Y, X; Q where it says nothing, R if its length is 1 too."""
    found = ""
    for name, length in zip(names, shape, strict=True):
        letter = str(name or "").upper()
        known = len(letter) == 1 and letter in UNSAID and letter not in found
        found += letter if known else UNKNOWN[0] if length > 1 else "R"
    return found


def _letter(name: str, kind: object) -> str:
    """Return T for time and C for channels, whatever they are called."""
    return {"time": "T", "channel": "C"}.get(str(kind), name.upper())


def _scale(holder: dict[str, Any], n_axes: int) -> list[float]:
    """Return the scale of a dataset or multiscale along each axis, 1 where it has none."""
    for transformation in holder.get("coordinateTransformations") or ():
        if transformation["type"] == "scale":
            # A scale may also be kept in an array of its own, which no known program writes; it counts as unknown.
            return [float(factor) for factor in transformation.get("scale", [float("nan")] * n_axes)]
    return [1.0] * n_axes


def image_metadata(
    name: str,
    voxel_size_um: tuple[float, float, float] | None,
    channel_names: Sequence[str],
    colours: Sequence[tuple[int, int, int]] | None,
    display_ranges: Sequence[tuple[float, float]],
    zarr_format: int,
) -> dict[str, Any]:
    """Return the attributes of a new image of one level, as `tfcyclegan3d.zarrs.writing.create_zarr` describes it."""
    version = VERSIONS[zarr_format]
    unit = {"unit": "micrometer"} if voxel_size_um else {}
    axes = [{"name": "c", "type": "channel"}, *({"name": letter, "type": "space", **unit} for letter in "zyx")]
    multiscale = {
        "name": name,
        "axes": axes,
        "datasets": [dataset("0", (1, 1, 1), voxel_size_um or (1.0, 1.0, 1.0), centred=False)],
    }
    if colours is None:
        colours = [(255, 255, 255)] if len(channel_names) == 1 else COLOURS
    channels = [
        {
            "label": label,
            "color": "".join(f"{int(part):02X}" for part in colours[number % len(colours)]),
            "active": True,
            "window": {"min": low, "max": high, "start": low, "end": high},
        }
        for number, (label, (low, high)) in enumerate(zip(channel_names, display_ranges, strict=True))
    ]
    omero = {"channels": channels, "rdefs": {"model": "color" if len(channels) > 1 else "greyscale"}}
    if zarr_format == 2:
        versioned = {"multiscales": [{"version": version, **multiscale}], "omero": {"version": version, **omero}}
        return {"_creator": CREATOR, **versioned}
    return {"ome": {"version": version, "_creator": CREATOR, "multiscales": [multiscale], "omero": omero}}


def is_written_here(attributes: dict[str, Any]) -> bool:
    """Tell whether the attributes of an image are those that this package writes."""
    return bool(attributes.get("_creator") == CREATOR)


def written_names(attributes: dict[str, Any]) -> list[str]:
    """Return the names that this package gave to an image's channels; none where it gave their numbers alone."""
    if not is_written_here(attributes):
        return []
    try:
        labels = [str(channel["label"]) for channel in attributes["omero"]["channels"]]
    except (KeyError, TypeError):
        return []
    return labels if labels != [str(number) for number in range(len(labels))] else []


def dataset(path: str, factors: Sequence[int], voxel_size: Sequence[float], *, centred: bool) -> dict[str, Any]:
    """Return the entry of a level.

    Parameters
    ----------
    path : str
        Of its array below the image.
    factors : (z, y, x)
        Voxels of level 0 along a side of one of its voxels.
    voxel_size : (z, y, x)
        Of level 0, in the unit of its axes.
    centred : bool
        Whether a voxel stands for the middle of those it was made of, not for the first of them.
    """
    scale = [1.0, *(factor * length for factor, length in zip(factors, voxel_size, strict=True))]
    transformations = [{"type": "scale", "scale": scale}]
    if centred and max(factors) > 1:
        shift = [0.0, *((factor - 1) / 2 * length for factor, length in zip(factors, voxel_size, strict=True))]
        transformations.append({"type": "translation", "translation": shift})
    return {"path": path, "coordinateTransformations": transformations}
