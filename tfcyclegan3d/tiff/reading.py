"""Reading a TIFF stack of any common kind into a ZYXC array, or saying why that cannot be done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from tfcyclegan3d import axes as axis_letters
from tfcyclegan3d import errors
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.tiff.integrity import IncompleteError, check_chain, check_series
from tfcyclegan3d.tiff.mapping import mapped_series
from tfcyclegan3d.tiff.voxel_size import voxel_size_um
from tfcyclegan3d.tiff.writing import SOFTWARE

# How files begin that a microscopist may take for a stack.
OTHER_FORMATS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x89HDF": "an HDF5 file",
    b"ZISRAW": "a Zeiss CZI file",
    b"\xda\xce\xbe\x0a": "a Nikon ND2 file",
    b"\x70\x00\x00\x00": "a Leica LIF file",
}
# Bytes of a stack from which on it may stay on disk.
MOST_IN_MEMORY = 2**26
CONVERT = "convert it to TIFF, for example in Fiji by File > Open and File > Save As > Tiff"


@dataclass(frozen=True, eq=False)
class StoredStack:
    """A stack as read, with what the file says of it.

    Attributes
    ----------
    array : ndarray
        Shape (Z, Y, X, C), the file's type; C-contiguous in the machine's byte order, but as in the file and not
        writeable where it stays on disk.
    axes : str
        Axes as the file has them, in tifffile's letters (Q and I: unknown, S: colour samples).
    shape : tuple of int
        Shape as stored, one length per letter of ``axes``.
    voxel_size_um : tuple of float, or None
        (z, y, x) in micrometres where the file states all three.
    """

    array: np.ndarray
    axes: str
    shape: tuple[int, ...]
    voxel_size_um: tuple[float, float, float] | None


def read_tiff(
    path: str | Path, axes: str | None = None, *, values: bool = True, scratch: ScratchFile | None = None
) -> StoredStack:
    """Read the one image stack of a TIFF, BigTIFF, ImageJ or OME-TIFF file, compressed or not.

    Parameters
    ----------
    path : str or Path
        The file.
    axes : str, optional
        One letter per stored dimension (see `tfcyclegan3d.axes.from_user`); wins over what the file says.
    values : bool
        False leaves the values unread, for their shape alone: the array is nought everywhere and takes no memory.
    scratch : ScratchFile, optional
        Leave a stack of more than ``MOST_IN_MEMORY`` bytes on disk: the array is then mapped, from the file itself
        where its values lie there one after the other, else from what has been decoded into this one.

    Raises
    ------
    FileMissingError
        If there is no such file.
    UnreadableFileError
        If it is empty, truncated, damaged, no TIFF, or may not be read.
    VolumeContentError
        If it holds several images, or none.
    AxesError
        If its axes are unknown, ambiguous, not those of a stack, or not those given.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise errors.FileMissingError(path, "file")
        if path.is_dir():
            raise errors.UnreadableFileError(path, "it is a folder")
        _refuse_other_formats(path)
        with _silent_tifffile(), tifffile.TiffFile(path) as tif:
            return _read(path, tif, axes, values, scratch)
    except (errors.UserError, MemoryError):
        raise
    # tifffile and the codecs raise whatever a damaged file leads them to: struct.error, KeyError, codec errors.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise errors.UnreadableFileError(path, reason) from error


def _refuse_other_formats(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(8)
    kind = next((name for magic, name in OTHER_FORMATS.items() if begin.startswith(magic)), None)
    if kind is None and begin and begin[:2] not in (b"II", b"MM") and path.suffix.lower() not in (".tif", ".tiff"):
        kind = "no TIFF file"
    if kind is not None:
        raise errors.UnreadableFileError(path, f"it is {kind}", CONVERT)


def _read(
    path: Path, tif: tifffile.TiffFile, axes: str | None, values: bool, scratch: ScratchFile | None
) -> StoredStack:
    check_chain(tif)
    series = _one_series(path, tif)
    check_series(tif, series)
    stored, shape, full, full_shape = _stored_axes(tif, series)
    if axes is None:
        if tif.is_ome and series.kind != "ome":
            raise IncompleteError("its OME description does not fit its pages")
        letters, shape_read = axis_letters.from_file(path, stored, shape, full, full_shape), full_shape
    else:
        letters, shape_read = axis_letters.from_user(path, axes, stored, shape, full)
    if values and scratch is not None and series.nbytes > MOST_IN_MEMORY:
        with _naming_page(series):
            array = mapped_series(path, tif, series, scratch)
        array = axis_letters.to_zyxc(array.reshape(shape_read), letters)
    elif values:
        with _naming_page(series):
            array = series.asarray()
        array = array.astype(array.dtype.newbyteorder("="), copy=False).reshape(shape_read)
        array = np.ascontiguousarray(axis_letters.to_zyxc(array, letters))
    else:
        sides = dict(zip(letters, shape_read, strict=True))
        array = np.broadcast_to(np.zeros((), series.dtype), [sides.get(letter, 1) for letter in "ZYXC"])
    size = voxel_size_um(tif) if axes is None or _keeps_plane(stored, shape, letters, shape_read) else None
    return StoredStack(array, stored, shape, size)


def _one_series(path: Path, tif: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    found = list(tif.series)
    if len(found) != 1:
        shapes = ", ".join(f"{series.axes} {series.shape}" for series in found[:4])
        raise errors.VolumeContentError(
            path,
            f"holds {len(found)} images where one is wanted ({shapes})",
            "save the one you want as a file of its own",
        )
    return found[0]


def _stored_axes(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> tuple[str, tuple[int, ...], str, tuple[int, ...]]:
    """Return axes and shape without, and with, the dimensions of length 1 that the file's format adds."""
    full, full_shape = series.get_axes(False), tuple(series.get_shape(False))
    described = series.kind in ("ome", "imagej")
    if described and tif.pages[0].software == SOFTWARE:
        kept = [full.index(letter) for letter in ("ZCYX" if full.index("Z") < full.index("C") else "CZYX")]
        axes, shape = "".join(full[index] for index in kept), tuple(full_shape[index] for index in kept)
        return axes, shape, axes, shape
    if described:
        # These formats always name a Z, so that one of length 1 says nothing.
        kept = [index for index, letter in enumerate(full) if letter != "Z" or full_shape[index] > 1]
        full, full_shape = "".join(full[index] for index in kept), tuple(full_shape[index] for index in kept)
    return series.axes, tuple(series.shape), full, full_shape


def _keeps_plane(stored: str, shape: tuple[int, ...], letters: str, shape_read: tuple[int, ...]) -> bool:
    """Tell whether the user's Y and X are the file's, so that its voxel size means the same."""
    complete = len(shape) == len(shape_read)
    kept = "".join(letter for letter, length in zip(stored, shape, strict=True) if complete or length > 1)
    return all(kept.find(letter) == letters.index(letter) for letter in "YX")


@contextmanager
def _naming_page(series: tifffile.TiffPageSeries) -> Iterator[None]:
    """Say which page of a series cannot be decoded, where that is what goes wrong."""
    try:
        yield
    except (errors.UserError, MemoryError, OSError):
        raise
    except Exception:
        for number, page in enumerate(series.pages, start=1):
            try:
                page.asarray()
            except Exception as error:
                reason = f"page {number} of {len(series.pages)} is damaged: {error}"
                raise IncompleteError(reason) from error
        raise


@contextmanager
def _silent_tifffile() -> Iterator[None]:
    """Keep tifffile's remarks on damaged files off stderr: what matters of them becomes an error here."""
    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
