"""The values of a TIFF as an array that stays on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from tfcyclegan3d.scratch import ScratchFile


def mapped_series(
    path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, scratch: ScratchFile
) -> np.ndarray:
    """Map the values of a series, whose completeness has been checked, instead of reading them.

    Parameters
    ----------
    path : Path
        The file.
    tif, series
        What is open of it.
    scratch : ScratchFile
        Where values are decoded to, a page at a time, that are compressed or scattered over the file.

    Returns
    -------
    ndarray
        Of the series' shape, in the file's byte order where it is mapped from there; it cannot be written to.

    Raises
    ------
    OutputError
        If the disk is too full for what has to be decoded.
    """
    if series.dataoffset is not None and series.transform is None:
        dtype = np.dtype(tif.byteorder + series.dtype.char)
        return np.asarray(np.memmap(path, dtype, "r", series.dataoffset, tuple(series.shape)))
    dtype = series.dtype.newbyteorder("=")
    start = scratch.write(page.asarray().astype(dtype, copy=False) for page in series.pages)
    return scratch.array(start, dtype, tuple(series.shape))
