"""Writing a ZYXC stack as an OME-Zarr image, chunk by chunk, by as many processes as there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.zarrs.chunks import Box, plan_boxes
from tfcyclegan3d.zarrs.metadata import AXES, image_metadata

if TYPE_CHECKING:
    import zarr

TYPES = ("uint8", "uint16", "uint32", "int32", "float32")
CHUNK_SHAPE = (64, 128, 128)
# The fastest of zstd's usual ones.
COMPRESSION_LEVEL = 1


def create_zarr(
    path: str | Path,
    shape: tuple[int, int, int, int],
    dtype: np.dtype | type | str,
    chunk_shape: tuple[int, int, int] = CHUNK_SHAPE,
    *,
    voxel_size_um: tuple[float, float, float] | None = None,
    name: str = "",
    channel_names: Sequence[str] | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
    display_ranges: Sequence[tuple[float, float]] | None = None,
    zarr_format: int = 3,
) -> zarr.Array:
    """Create an OME-Zarr image of one level, none of whose chunks is stored yet.

    Parameters
    ----------
    path : str or Path
        The folder to make; its parent must exist, and the folder must not.
    shape : (z, y, x, channels)
        Of the stack.
    dtype : np.dtype
        One of ``TYPES``.
    chunk_shape : (z, y, x)
        Of a chunk, which holds one channel; no longer than the stack.
    voxel_size_um : (z, y, x), optional
        In micrometres. Without it the scale is 1 and has no unit.
    name : str
        Of the image; the folder's name if not given.
    channel_names : sequence of str, optional
        One per channel; their numbers if not given.
    colours : sequence of (red, green, blue), optional
        0 to 255, one per channel, as which viewers show them.
    display_ranges : sequence of (low, high), optional
        One per channel, between which viewers show it; all values of an 8-bit or 16-bit integer, else 0 to 1.
    zarr_format : int
        3 for zarr v3 and OME-Zarr 0.5, 2 for zarr v2 and OME-Zarr 0.4.

    Returns
    -------
    zarr.Array
        Level 0, of axes C, Z, Y, X. `write_box` fills it. Boxes of whole chunks may be written at the same time, by
        other processes too, which get the array from `open_to_write`.

    Raises
    ------
    OutputError
        If it cannot be written.
    OutputExistsError
        If there is something already.
    ChannelError
        If the number of names, colours or ranges is not the number of channels.
    ValueError
        If the type is none of ``TYPES``.
    """
    path, dtype, n_channels = Path(path), np.dtype(dtype).newbyteorder("="), shape[3]
    if dtype.name not in TYPES:
        raise ValueError(f"values of type {dtype} are not written: give one of {', '.join(TYPES)}")
    for what, given in (("names", channel_names), ("colours", colours), ("display ranges", display_ranges)):
        if given is not None and len(given) != n_channels:
            raise errors.ChannelError(name or path.name, n_channels, f"but {len(given)} {what} were given")
    if path.exists():
        raise errors.OutputExistsError(path)
    high = np.iinfo(dtype).max if dtype.name in ("uint8", "uint16") else 1
    attributes = image_metadata(
        name or path.name,
        voxel_size_um,
        [str(label) for label in channel_names or range(n_channels)],
        colours,
        display_ranges or [(0, high)] * n_channels,
        zarr_format,
    )
    with errors.writing(path):
        import zarr

        zarr.create_group(str(path), zarr_format=zarr_format, attributes=attributes)
    return create_level(path, "0", (n_channels, *shape[:3]), dtype, chunk_shape, zarr_format)


def create_level(
    path: Path,
    level: str,
    shape: tuple[int, int, int, int],
    dtype: np.dtype,
    chunk_shape: Sequence[int],
    zarr_format: int,
) -> zarr.Array:
    """Create the array (C, Z, Y, X) of a level in an image, in place of an earlier one.

    Chunks are compressed by zstd with a checksum, so that a damaged one is known when it is read.
    """
    import numcodecs
    import zarr

    options: dict[str, Any] = {
        3: {
            "compressors": zarr.codecs.ZstdCodec(level=COMPRESSION_LEVEL, checksum=True),
            "dimension_names": tuple(AXES),
        },
        2: {
            "compressors": numcodecs.Zstd(level=COMPRESSION_LEVEL, checksum=True),
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        },
    }[zarr_format]
    with errors.writing(path):
        return zarr.create_array(
            str(path / level),
            shape=shape,
            dtype=dtype,
            chunks=(1, *(min(length, side) for length, side in zip(chunk_shape, shape[1:], strict=True))),
            fill_value=0,
            zarr_format=zarr_format,
            # A chunk that is nought is stored too: one that is missing was never written.
            config={"write_empty_chunks": True},
            overwrite=True,
            **options,
        )


def open_to_write(path: str | Path, level: str = "0") -> zarr.Array:
    """Return a level (C, Z, Y, X) of an image made by `create_zarr`, to be written to by another process.

    Raises
    ------
    OutputError
        If it is not there.
    """
    import zarr

    with errors.writing(path), zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(str(Path(path) / level), mode="r+")


def write_box(level: zarr.Array, box: Box, values: np.ndarray) -> None:
    """Write a box of voxels.

    Parameters
    ----------
    level : zarr.Array
        Of `create_zarr` or `open_to_write`.
    box : (z, y, x) of slice
        Whole chunks, where others write at the same time.
    values : ndarray
        Shape (Z, Y, X, C), the type of the level.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    with errors.writing(level.store_path.store.root):
        level[(slice(None), *box)] = values.transpose(3, 0, 1, 2)


def write_array(level: zarr.Array, array: np.ndarray) -> None:
    """Write a whole array (Z, Y, X, C), a few chunks at a time."""
    for box in plan_boxes(array.shape[:3], level.chunks[1:], 2**24 // array.shape[3]):
        write_box(level, box, array[box])
