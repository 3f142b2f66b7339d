"""Which dimension of a stored array is Z, Y, X or the channel: from the user, else from the file, else an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfcyclegan3d import errors

LETTERS = "ZYXCST"
# tifffile's letters for a dimension that nothing in the file names.
UNKNOWN = "QI"
FLAT = "a 2D image; this package needs a stack"
FLAT_REMEDY = "give a stack, or join the images to one in Fiji"


def from_user(
    path: str | Path, wanted: str, stored: str, shape: tuple[int, ...], left_out: str = ""
) -> tuple[str, tuple[int, ...]]:
    """Fit the user's axes to a stored array; what the user says wins over the file.

    Parameters
    ----------
    path : str or Path
        The file, for messages.
    wanted : str
        One letter per dimension, of Z, Y, X, C, S (the same as C) and T. Stored dimensions of length 1 may go without
        a letter, and T or C may name one of ``left_out``.
    stored : str
        Axes as the file has them.
    shape : tuple of int
        Shape as stored.
    left_out : str
        Dimensions that the file's format names but ``stored`` leaves out for having length 1.

    Returns
    -------
    axes : str
        Of Z, Y, X, C and T.
    shape : tuple of int
        The stored shape without the dimensions of length 1 that have no letter.

    Raises
    ------
    AxesError
        If the letters are not among these, are repeated, lack Z, Y or X, or do not fit the number of dimensions.
    """

    def reject(reason: str, remedy: str = "") -> errors.AxesError:
        return errors.AxesError(path, stored, shape, reason, remedy)

    letters = wanted.strip().upper().replace("S", "C")
    if not letters or set(letters) - set(LETTERS) or len(set(letters)) < len(letters):
        raise reject(f"but --axes {wanted} was received", "use each of Z, Y, X once, and C and T where they exist")
    if set("ZYX") - set(letters):
        raise reject(f"but --axes {wanted} lacks one of Z, Y, X")
    for letter in "TC":
        if len(letters) > len(shape) and letter in left_out and letter not in stored.replace("S", "C"):
            letters = letters.replace(letter, "")
    spare = len(shape) - len(letters)
    if spare > 0 and shape.count(1) == spare:
        shape = tuple(length for length in shape if length != 1)
    if len(letters) != len(shape):
        if len(shape) < 3:
            raise reject(FLAT, FLAT_REMEDY)
        raise reject(f"but --axes {wanted} was received", f"give {len(shape)} letters, one per dimension")
    _refuse_times(path, letters, shape, stored, shape)
    return letters, shape


def from_file(path: str | Path, stored: str, shape: tuple[int, ...], full: str, full_shape: tuple[int, ...]) -> str:
    """Find Z, Y, X and C from what the file says, guessing only that an unnamed third dimension is Z.

    Parameters
    ----------
    path : str or Path
        The file, for messages.
    stored, shape : str and tuple of int
        Axes and shape without the dimensions that the file leaves out, for messages.
    full, full_shape : str and tuple of int
        Axes and shape with every dimension the format knows, many of length 1.

    Returns
    -------
    str
        One letter per dimension of ``full_shape``: Z, Y, X, C, or T for a dimension of length 1 to be dropped.

    Raises
    ------
    AxesError
        If an axis is unknown, several could be the channels, there are several timepoints, or no Z.
    """
    _refuse_times(path, full, full_shape, stored, shape)
    lengths = dict(zip(full, full_shape, strict=True))
    if lengths.get("S", 1) > 1 and lengths.get("C", 1) > 1:
        raise errors.AxesError(path, stored, shape, "in which both C and S could be the channels")
    channel = "S" if lengths.get("S", 1) > 1 else "C"
    kept = [letter for letter, length in zip(full, full_shape, strict=True) if letter in "ZYX" or length > 1]
    unnamed = [letter for letter in kept if letter not in "ZYXCS"]
    if len(kept) == 3 and "Z" not in kept and len(unnamed) == 1 and unnamed[0] in UNKNOWN:
        return full.translate({ord(unnamed[0]): "Z"} | {ord(letter): "T" for letter in full if letter not in kept})
    if unnamed:
        example = "ZYXC or --axes YXZC (as the published stacks)" if "S" in kept else "ZCYX or --axes CZYX"
        raise errors.AxesError(
            path,
            stored,
            shape,
            "which do not say which dimension is Z, Y, X or the channel",
            f"say so, for example --axes {example}",
        )
    if not set("ZYX") <= set(kept):
        raise errors.AxesError(
            path,
            stored,
            shape,
            FLAT,
            FLAT_REMEDY if "S" in kept or len(kept) < 3 else "add --axes ZYX if these are slices",
        )
    return "".join("C" if letter == channel else letter if letter in "ZYX" else "T" for letter in full)


def to_zyxc(array: np.ndarray, axes: str) -> np.ndarray:
    """Return an array of the given axes as ZYXC; T and every unused axis has length 1 and is dropped.

    Parameters
    ----------
    array : ndarray
        One dimension per letter of ``axes``.
    axes : str
        Z, Y, X, at most one C, and any number of T.

    Returns
    -------
    ndarray
        A view of shape (Z, Y, X, C); C is 1 where ``axes`` has none.
    """
    kept = axes.replace("T", "")
    array = array.reshape([length for letter, length in zip(axes, array.shape, strict=True) if letter != "T"])
    if "C" not in kept:
        kept, array = kept + "C", array[..., np.newaxis]
    return array.transpose([kept.index(letter) for letter in "ZYXC"])


def _refuse_times(
    path: str | Path, axes: str, shape: tuple[int, ...], stored: str, stored_shape: tuple[int, ...]
) -> None:
    n_times = max((length for letter, length in zip(axes, shape, strict=True) if letter == "T"), default=1)
    if n_times > 1:
        raise errors.AxesError(
            path,
            stored,
            stored_shape,
            f"{n_times} timepoints where one is wanted",
            "save one timepoint as its own file, or add --axes with Z for T if these are slices",
        )
