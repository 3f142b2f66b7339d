"""What a zarr folder holds: an array, an OME-Zarr image, or something that is no one image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tfcyclegan3d import errors

SUFFIX = ".zarr"
METADATA_FILES = ("zarr.json", ".zarray", ".zgroup")
COPY_AGAIN = "copy it again whole from its source"
# Members of a group that an error names.
MOST_NAMED = 4


class Node(NamedTuple):
    """What the metadata of a folder says of it.

    Attributes
    ----------
    is_array : bool
        Whether it is an array, not a group.
    attributes : dict
        Its own attributes, none where it has none.
    """

    is_array: bool
    attributes: dict[str, Any]


def is_zarr(path: str | Path) -> bool:
    """Tell whether a path is a folder called ``.zarr``, or one that holds the metadata of a zarr array or group."""
    path = Path(path)
    try:
        return path.is_dir() and (
            path.suffix.lower() == SUFFIX or any((path / name).is_file() for name in METADATA_FILES)
        )
    except OSError:
        # A folder that may not be looked into; whoever reads it says so.
        return False


def unreadable(path: str | Path, reason: object, remedy: str = COPY_AGAIN) -> errors.UnreadableFileError:
    """Return the error of a folder that cannot be read."""
    return errors.UnreadableFileError(path, reason, remedy, kind="a zarr stack")


def node_at(path: Path) -> Node:
    """Return what a folder is, zarr v3 or v2.

    Raises
    ------
    UnreadableFileError
        If it is no array or group, or its metadata is damaged.
    """
    if (path / "zarr.json").is_file():
        content = _read_json(path, "zarr.json")
        kind, attributes = content.get("node_type"), content.get("attributes") or {}
        if kind not in ("array", "group") or not isinstance(attributes, dict):
            raise unreadable(path, f"its zarr.json calls it {kind!r}, neither an array nor a group")
        return Node(kind == "array", attributes)
    for name, is_array in ((".zarray", True), (".zgroup", False)):
        if (path / name).is_file():
            _read_json(path, name)
            return Node(is_array, _read_json(path, ".zattrs") if (path / ".zattrs").is_file() else {})
    raise unreadable(path, "it holds neither zarr.json nor .zarray nor .zgroup")


def find_image(path: Path) -> tuple[Path, Node]:
    """Return where the one image of a folder is: the folder itself, or its only series as bioformats2raw writes it.

    Returns
    -------
    path : Path
        An array, or a group whose attributes have ``multiscales``.
    node : Node
        What is there; of a group, the attributes are those of OME alone.

    Raises
    ------
    UnreadableFileError
        If its metadata is damaged.
    VolumeContentError
        If it is a plate or a well, holds several images or none.
    """
    node = node_at(path)
    if node.is_array:
        return path, node
    ome = node.attributes.get("ome", node.attributes)
    if not isinstance(ome, dict):
        raise unreadable(path, "its OME-Zarr metadata is none")
    if ome.get("multiscales"):
        return path, Node(False, ome)
    for kind, key in (("a plate of wells", "wells"), ("a well of several fields", "images")):
        holder = ome.get("plate" if key == "wells" else "well")
        if holder is not None:
            raise errors.VolumeContentError(path, f"is {kind}, not one image", _one_of(path, _field(holder, key)))
    if "bioformats2raw.layout" in ome:
        series = [one for one in _members(path) if one.isdecimal()]
        if len(series) == 1:
            return find_image(path / series[0])
        raise errors.VolumeContentError(
            path, f"holds {len(series)} images where one is wanted", _one_of(path, series[0] if series else "0")
        )
    members = _members(path)
    named = ", ".join(members[:MOST_NAMED]) + (", ..." if len(members) > MOST_NAMED else "")
    raise errors.VolumeContentError(
        path,
        f"is a zarr group without an image (it holds {named or 'nothing'})",
        _one_of(path, members[0]) if members else "give a folder that holds an OME-Zarr image or a zarr array",
    )


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((path / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(path, f"{name}: {error.strerror or error}") from error
    except ValueError as error:
        raise unreadable(path, f"its {name} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise unreadable(path, f"its {name} is damaged: it holds no object")
    return content


def _members(path: Path) -> list[str]:
    return sorted((one.name for one in path.iterdir() if is_zarr(one)), key=lambda name: (len(name), name))


def _field(holder: Any, key: str) -> str:
    """Return the path of the first field that a plate's or well's attributes name."""
    try:
        first = str(holder[key][0]["path"])
    except (KeyError, IndexError, TypeError):
        first = "A/1" if key == "wells" else "0"
    return f"{first}/0" if key == "wells" else first


def _one_of(path: Path, member: str) -> str:
    return f"give one of its images, for example {path / member}"
