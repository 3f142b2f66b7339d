"""What a TIFF file says of who wrote it, and of the names of its channels."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import tifffile

from tfcyclegan3d.tiff.writing import SOFTWARE


def is_written_here(path: str | Path) -> bool:
    """Tell whether this package wrote a TIFF file."""
    with tifffile.TiffFile(path) as tif:
        return _is_ours(tif)


def read_names(path: str | Path) -> list[str]:
    """Return the names that `tfcyclegan3d.tiff.writing` gave to the channels; none of another program's file."""
    with tifffile.TiffFile(path) as tif:
        if not _is_ours(tif):
            return []
        return _from_ome(tif.ome_metadata or "") if tif.is_ome else _from_labels(tif.imagej_metadata or {})


def _is_ours(tif: tifffile.TiffFile) -> bool:
    return bool(tif.pages.first.software == SOFTWARE)


def _from_ome(description: str) -> list[str]:
    try:
        root = ElementTree.fromstring(description)
    except (ElementTree.ParseError, ValueError):
        return []
    channels = [element for element in root.iter() if element.tag.rpartition("}")[2] == "Channel"]
    return [channel.get("Name", "") for channel in channels]


def _from_labels(metadata: dict[str, object]) -> list[str]:
    """Every plane has a label, and those of one Z stand side by side; a single one is no list."""
    labels = metadata.get("Labels") or []
    labels = [labels] if isinstance(labels, str) else labels
    n_channels = metadata.get("channels", 1)
    if not isinstance(labels, list) or not isinstance(n_channels, int):
        return []
    return [str(label) for label in labels[:n_channels]]
