"""The box around each object of a stack, found part by part, and groups of objects that are read together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from scipy import ndimage

from tfcyclegan3d import errors
from tfcyclegan3d.sources import Source
from tfcyclegan3d.zarrs.chunks import Box

# Voxels of a part that is read at once for the objects that begin in it, and the most that are.
TILE = (64, 256, 256)
MOST_READ = 2**24
# A table of boxes for every number up to this one takes a second; numbers beyond are looked up.
MOST_LISTED = 2**20


def boxes_of(source: Source) -> list[dict[int, np.ndarray]]:
    """Return, for each channel, the box of each object: by its number, starts and stops (2, 3) along Z, Y, X.

    Parameters
    ----------
    source : Source
        Instance numbers, one class a channel.

    Raises
    ------
    VolumeContentError
        For values that are no instance numbers.
    """
    found: list[dict[int, np.ndarray]] = [{} for _ in range(source.grid.n_channels)]
    for slab in source.slabs():
        values = _numbers(source.read(slab), source.grid.name)
        start = np.array([part.start for part in slab])
        for k, boxes in enumerate(found):
            for number, box in _boxes(values[..., k]):
                here = np.array([[part.start for part in box], [part.stop for part in box]]) + start
                there = boxes.setdefault(number, here)
                np.minimum(there[0], here[0], out=there[0])
                np.maximum(there[1], here[1], out=there[1])
    return [dict(sorted(boxes.items())) for boxes in found]


def read_together(boxes: Sequence[np.ndarray]) -> Iterator[tuple[Box, list[int]]]:
    """Yield boxes to read, and which of the objects' boxes lie in each.

    Parameters
    ----------
    boxes : sequence of ndarray
        As ``boxes_of`` returns them.
    """

    def tile(index: int) -> tuple[int, ...]:
        return tuple(boxes[index][0] // TILE)

    for _, indices in groupby(sorted(range(len(boxes)), key=tile), key=tile):
        together = list(indices)
        whole = _around([boxes[index] for index in together])
        if math.prod(part.stop - part.start for part in whole) <= MOST_READ:
            yield whole, together
        else:
            yield from ((_around([boxes[index]]), [index]) for index in together)


def _around(boxes: Sequence[np.ndarray]) -> Box:
    low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, y, x


def _boxes(numbers: np.ndarray) -> Iterator[tuple[int, Box]]:
    """Yield each number in an array ZYX, and its box."""
    highest = int(numbers.max(initial=0))
    if highest == 0:
        return
    known = None
    if highest > MOST_LISTED:
        known, numbers = np.unique(numbers, return_inverse=True)
        known, numbers = (known, numbers + 1) if known[0] else (known[1:], numbers)
    listed = ndimage.find_objects(np.ascontiguousarray(numbers.reshape(numbers.shape), dtype=np.int32))
    for index, box in enumerate(listed):
        if box is not None:
            yield int(known[index]) if known is not None else index + 1, box


def _numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Return instance numbers as integers, or say why they are none."""
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.size and values.dtype.kind == "f" and (values != np.rint(values)).any():
        raise errors.VolumeContentError(
            name, f"has values such as {values.ravel()[(values != np.rint(values)).argmax()]:g}", _REMEDY
        )
    if values.size and values.min() < 0:
        raise errors.VolumeContentError(name, f"has negative values such as {values.min():g}", _REMEDY)
    return values if values.dtype.kind in "ui" else values.astype(np.int64)


_REMEDY = "give instance numbers, 0 being background; masks and probabilities are numbered with --prediction"
