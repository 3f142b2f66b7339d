"""Whether all the data a TIFF promises is in the file.

tifffile hands back zeros, or fewer pages, for some truncated files; a stack that is partly zeros must never be taken
for an image.
"""

from __future__ import annotations

import math
import struct

import tifffile

# Bytes of one value of each TIFF type.
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class IncompleteError(Exception):
    """Says what is missing from the file."""


def check_chain(tif: tifffile.TiffFile) -> None:
    """Follow the file's chain of page headers to its end.

    Raises
    ------
    IncompleteError
        If a header lies beyond the end of the file, which is how a cut between two pages shows.
    """
    layout, handle = tif.tiff, tif.filehandle
    seen: set[int] = set()
    handle.seek(4 if layout.offsetsize == 4 else 8)
    while offset := struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))[0]:
        if offset in seen:
            raise IncompleteError("its page headers go in a circle")
        seen.add(offset)
        if offset + layout.tagnosize > handle.size:
            raise IncompleteError(f"truncated: its page {len(seen)} would begin beyond the end of the file")
        handle.seek(offset)
        n_tags = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))[0]
        tags = handle.read(n_tags * layout.tagsize)
        if handle.tell() + layout.offsetsize > handle.size or _end_of_values(tags, layout) > handle.size:
            raise IncompleteError(f"truncated within the header of page {len(seen)}")


def _end_of_values(tags: bytes, layout: tifffile.tifffile.TiffFormat) -> int:
    """Return where the last of the values ends that a page's tags keep elsewhere in the file."""
    entry = layout.byteorder + ("HHII" if layout.offsetsize == 4 else "HHQQ")
    fields = struct.iter_unpack(entry, tags)
    sizes = ((offset, count * VALUE_BYTES.get(kind, 0)) for _, kind, count, offset in fields)
    return max((offset + size for offset, size in sizes if size > layout.offsetsize), default=0)


def check_series(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Compare what a series needs with what is stored.

    Raises
    ------
    IncompleteError
        If pages are missing, data lies beyond the end of the file, or the description promises more than is there.
    """
    promised = _promised_size(tif)
    if promised > series.size:
        raise IncompleteError(f"truncated: {series.size} of {promised} voxels are there")
    if series.dataoffset is not None and series.dataoffset + series.nbytes > tif.filehandle.size:
        raise IncompleteError(f"truncated: {series.dataoffset + series.nbytes - tif.filehandle.size} bytes are missing")
    for number, page in enumerate(series.pages, start=1):
        if page is None:
            raise IncompleteError(f"page {number} of {len(series.pages)} is missing, or in another file")
        _check_page(page, number)


def _check_page(page: tifffile.TiffPage | tifffile.TiffFrame, number: int) -> None:
    size = page.parent.filehandle.size
    if len(page.dataoffsets) != len(page.databytecounts) or not page.dataoffsets:
        raise IncompleteError(f"page {number} does not say where its data is")
    for offset, n_bytes in zip(page.dataoffsets, page.databytecounts, strict=True):
        if n_bytes == 0:
            raise IncompleteError(f"page {number} has a part without data")
        if offset + n_bytes > size:
            raise IncompleteError(f"truncated: the data of page {number} would end beyond the end of the file")
    if page.keyframe.compression == 1 and sum(page.databytecounts) * 8 < page.size * page.keyframe.bitspersample:
        raise IncompleteError(f"page {number} holds less data than its shape needs")


def _promised_size(tif: tifffile.TiffFile) -> int:
    """Return the number of voxels that the description of an ImageJ or tifffile file promises, 0 for other files."""
    if tif.is_imagej:
        metadata = tif.imagej_metadata or {}
        planes = math.prod(int(metadata.get(key, 1)) for key in ("frames", "slices"))
        return planes * int(tif.pages[0].imagelength * tif.pages[0].imagewidth * int(metadata.get("channels", 1)))
    if tif.shaped_metadata:
        return math.prod(tif.shaped_metadata[0].get("shape", (0,)))
    return 0
