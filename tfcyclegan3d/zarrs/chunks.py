"""The chunks of a zarr array: which are not stored, which is damaged, and boxes made of whole ones.

zarr takes a chunk that is not stored for one of the fill value alone; a stack that is partly nought must never be taken
for an image.
"""

from __future__ import annotations

import itertools
import math
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zarr

Box = tuple[slice, slice, slice]
# A blosc chunk begins with 16 bytes, of which the last four are its length; its decoder reads on beyond a shorter file.
BLOSC_HEADER = 16


def stored_chunk_shape(level: zarr.Array) -> tuple[int, ...]:
    """Return the shape of what one file holds: a shard of chunks, or a chunk."""
    return tuple(level.shards or level.chunks)


def missing_chunks(folder: Path, level: zarr.Array) -> tuple[int, int, str | None]:
    """Look for the file of every chunk; an empty file counts as none.

    Parameters
    ----------
    folder : Path
        Of the array.
    level : zarr.Array
        The array.

    Returns
    -------
    n_missing, n_chunks : int
        How many are not there, and how many should be.
    first : str, or None
        The key of the first one missing, a path below ``folder``.
    """
    keys = map(level.metadata.encode_chunk_key, _all_chunks(level))
    n_chunks = n_missing = 0
    first: str | None = None
    # Keys come in order, so that every folder of chunks is listed once.
    for parent, together in itertools.groupby(keys, key=lambda key: key.rpartition("/")[0]):
        stored = _stored_files(folder / parent)
        for key in together:
            n_chunks += 1
            if key.rpartition("/")[2] not in stored:
                n_missing += 1
                first = first or key
    return n_missing, n_chunks, first


def truncated_chunk(folder: Path, level: zarr.Array, selection: Sequence[slice]) -> str | None:
    """Return the key of the first blosc chunk of a selection whose file is shorter than it says, or None."""
    last = type(level.compressors[-1]).__name__ if level.compressors and not level.shards else ""
    if not last.startswith("Blosc"):
        return None
    for chunk, _ in _chunks_of(level, selection):
        file = folder / level.metadata.encode_chunk_key(chunk)
        if file.is_file():
            with file.open("rb") as opened:
                header = opened.read(BLOSC_HEADER)
            if len(header) < BLOSC_HEADER or struct.unpack("<I", header[12:])[0] > file.stat().st_size:
                return str(level.metadata.encode_chunk_key(chunk))
    return None


def first_damaged(level: zarr.Array, selection: Sequence[slice]) -> tuple[str, Exception] | None:
    """Read a selection chunk by chunk, and return the key of the first that cannot be read, and why."""
    for chunk, part in _chunks_of(level, selection):
        try:
            level[part]
        # Codecs raise whatever a damaged chunk leads them to.
        except Exception as error:
            return level.metadata.encode_chunk_key(chunk), error
    return None


def plan_boxes(shape: Sequence[int], chunk_shape: Sequence[int], n_values: int) -> Iterator[Box]:
    """Cut an array into boxes of whole chunks.

    Parameters
    ----------
    shape : (z, y, x)
        Of the array.
    chunk_shape : (z, y, x)
        Of its chunks.
    n_values : int
        A box holds no more than this, unless a single chunk does.

    Yields
    ------
    tuple of slice
        Boxes that cover the array, each voxel once, in the order of the chunks; as long as may be along X, then Y.
    """
    lengths = [min(length, side) for length, side in zip(chunk_shape, shape, strict=True)]
    for axis in (2, 1, 0):
        n_chunks = max(1, n_values // max(1, math.prod(lengths)))
        lengths[axis] = min(n_chunks * lengths[axis], shape[axis])
    starts = (range(0, side, length) for side, length in zip(shape, lengths, strict=True))
    for corner in itertools.product(*starts):
        z, y, x = (
            slice(start, min(start + length, side)) for start, length, side in zip(corner, lengths, shape, strict=True)
        )
        yield z, y, x


def _all_chunks(level: zarr.Array) -> Iterator[tuple[int, ...]]:
    sides = zip(level.shape, stored_chunk_shape(level), strict=True)
    return itertools.product(*(range(-(-side // length)) for side, length in sides))


def _chunks_of(level: zarr.Array, selection: Sequence[slice]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Yield the chunks that a selection touches, and the part of the selection in each."""
    lengths = stored_chunk_shape(level)
    spans = [(one.start, one.stop) for one in selection]
    touched = (range(start // length, -(-stop // length)) for (start, stop), length in zip(spans, lengths, strict=True))
    for chunk in itertools.product(*touched):
        part = tuple(
            slice(max(start, number * length), min(stop, (number + 1) * length))
            for number, length, (start, stop) in zip(chunk, lengths, spans, strict=True)
        )
        yield chunk, part


def _stored_files(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.stat().st_size > 0}
    except (FileNotFoundError, NotADirectoryError):
        return set()
