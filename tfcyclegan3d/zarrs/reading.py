"""Reading a stack from a zarr folder box by box, or saying why that cannot be done."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfcyclegan3d import axes as axis_letters
from tfcyclegan3d import errors, tiling
from tfcyclegan3d.zarrs import chunks
from tfcyclegan3d.zarrs.chunks import Box
from tfcyclegan3d.zarrs.folders import Node, find_image, unreadable
from tfcyclegan3d.zarrs.metadata import describe_image, letters_of

if TYPE_CHECKING:
    import zarr

FILL = "copy it again whole, or add --missing-chunks fill where they are empty on purpose"
# Without one of these, zarr's error is the same as the one without a codec.
FIELDS = ("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs")
NO_CODEC = "install the package that brings it, or write the stack again with zstd, blosc or gzip"


@dataclass(frozen=True, eq=False)
class ZarrStack:
    """An open stack of which nothing has been read yet.

    Attributes
    ----------
    path : Path
        The folder given, for messages.
    folder : Path
        The folder of the array.
    level : zarr.Array
        The array.
    axes : str
        A letter per stored dimension, as the file has them (Q and R: unknown).
    letters : str
        The same as they are read: Z, Y, X, C, and T for dimensions of length 1 that are dropped.
    voxel_size_um : tuple of float, or None
        (z, y, x) in micrometres where the file states all three.
    """

    path: Path
    folder: Path
    level: zarr.Array
    axes: str
    letters: str
    voxel_size_um: tuple[float, float, float] | None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Lengths (z, y, x, channels)."""
        z, y, x, channels = self._zyxc(self.level.shape)
        return z, y, x, channels

    @property
    def chunk_shape(self) -> tuple[int, int, int]:
        """Lengths (z, y, x) of the smallest box that can be read without reading more than that."""
        z, y, x, _ = self._zyxc(self.level.chunks)
        return z, y, x

    @property
    def dtype(self) -> np.dtype:
        """Type of the values, in the machine's byte order."""
        return np.dtype(self.level.dtype).newbyteorder("=")

    @property
    def nbytes(self) -> int:
        """Bytes of all the values, decoded."""
        return math.prod(self.shape) * self.dtype.itemsize

    def slabs(self, n_channels: int | None = None) -> Iterator[Box]:
        """Yield boxes of whole chunks that cover the stack, each voxel once, in a good order to read.

        A box has at most ``tiling.SLAB_VALUES`` values in that many channels, unless a single chunk has more.
        """
        n_values = tiling.SLAB_VALUES // (n_channels or self.shape[3])
        return chunks.plan_boxes(self.shape[:3], self.chunk_shape, n_values)

    def read(self, box: Box, channels: Sequence[int] | None = None) -> np.ndarray:
        """Read a box of voxels.

        Parameters
        ----------
        box : (z, y, x) of slice
            Without steps; as NumPy takes them.
        channels : sequence of int, optional
            Existing ones, in this order; all of them if not given.

        Returns
        -------
        ndarray
            Shape (Z, Y, X, C), `dtype`, in memory.

        Raises
        ------
        UnreadableFileError
            If a chunk is damaged; it is named.
        """
        wanted = range(self.shape[3]) if channels is None else channels
        if len(wanted) == wanted[-1] - wanted[0] + 1 and list(wanted) == sorted(set(wanted)):
            return self._read(box, slice(wanted[0], wanted[-1] + 1))
        return np.concatenate([self._read(box, slice(channel, channel + 1)) for channel in wanted], axis=-1)

    def _read(self, box: Box, channels: slice) -> np.ndarray:
        parts = dict(zip("ZYX", box, strict=True)) | {"C": channels}
        selection = tuple(
            slice(*parts.get(letter, slice(None)).indices(side)[:2])
            for letter, side in zip(self.letters, self.level.shape, strict=True)
        )
        cut = chunks.truncated_chunk(self.folder, self.level, selection)
        if cut is not None:
            raise unreadable(self.path, f"chunk {cut} is truncated")
        try:
            values = np.asarray(self.level[selection])
        except MemoryError:
            raise
        # Codecs raise whatever a damaged chunk leads them to.
        except Exception as error:
            key, reason = chunks.first_damaged(self.level, selection) or ("", error)
            which = f"chunk {key} is damaged: " if key else ""
            raise unreadable(self.path, f"{which}{reason or type(reason).__name__}") from error
        return axis_letters.to_zyxc(values.astype(self.dtype, copy=False), self.letters)

    def _zyxc(self, lengths: Sequence[int]) -> tuple[int, ...]:
        named = dict(zip(self.letters, lengths, strict=True))
        return tuple(int(named.get(letter, 1)) for letter in "ZYXC")


def open_zarr(path: str | Path, axes: str | None = None, *, allow_missing_chunks: bool = False) -> ZarrStack:
    """Open an OME-Zarr image (level 0 of its first multiscale) or a plain zarr array, of zarr v2 or v3.

    Parameters
    ----------
    path : str or Path
        The folder of the image or array.
    axes : str, optional
        One letter per stored dimension (see `tfcyclegan3d.axes.from_user`); wins over what the file says. Without it
        the image's own axes are taken, or the dimension names of an array; three unnamed dimensions are ZYX.
    allow_missing_chunks : bool
        Whether a chunk that is not stored is taken to hold the fill value, as zarr has it. Chunks within a shard may
        be left out in any case.

    Returns
    -------
    ZarrStack
        Of a voxel size only where the image states scale and unit of all three axes. A single plane is a stack where
        its axes name a Z.

    Raises
    ------
    UnreadableFileError
        If it is no zarr, its metadata is damaged, a codec or a chunk is missing, or the type is unknown.
    VolumeContentError
        If it is a plate or a well, or holds several images, none, or no voxels.
    AxesError
        If its axes are unknown, ambiguous, not those of a stack, or not those given.
    """
    path = Path(path)
    try:
        folder, node = find_image(path)
        folder, names, size = _level_of(path, folder, node)
        level = _open_array(path, folder)
        stack = _with_axes(path, folder, level, names, size, axes)
        if 0 in stack.shape:
            raise errors.VolumeContentError(path, f"holds no voxels (shape {stack.shape})", "give another file")
        if not allow_missing_chunks:
            n_missing, n_chunks, first = chunks.missing_chunks(folder, level)
            if n_missing:
                raise unreadable(path, f"chunk {first} is missing, {n_missing} of {n_chunks} are", FILL)
    except OSError as error:
        raise unreadable(path, error.strerror or error) from error
    return stack


def _level_of(
    path: Path, folder: Path, node: Node
) -> tuple[Path, Sequence[str | None] | None, tuple[float, float, float] | None]:
    """Return the folder of the array, and the names of its dimensions and its voxel size as far as known."""
    if not node.is_array:
        image = describe_image(path, node.attributes)
        return folder / image.level, image.names, image.voxel_size_um
    # xarray's way to name the dimensions of a v2 array.
    names = node.attributes.get("_ARRAY_DIMENSIONS")
    return folder, names if isinstance(names, list) else None, None


def _open_array(path: Path, folder: Path) -> zarr.Array:
    import zarr

    if not folder.is_dir():
        raise unreadable(path, f"its level 0, {folder.name}, is not there")
    try:
        return zarr.open_array(str(folder), mode="r")
    except MemoryError:
        raise
    # zarr raises whatever metadata it does not understand leads it to.
    except Exception as error:
        # Its older versions say of an unknown codec nothing but the name, as a KeyError.
        unnamed = isinstance(error, KeyError) and error.args[0] not in FIELDS
        if unnamed or "codec" in f"{type(error).__name__} {error}".lower():
            raise unreadable(path, f"its codec is not known here: {error}", NO_CODEC) from error
        raise unreadable(path, f"zarr refuses its metadata: {str(error) or type(error).__name__}") from error


def _with_axes(
    path: Path,
    folder: Path,
    level: zarr.Array,
    names: Sequence[str | None] | None,
    size: tuple[float, float, float] | None,
    axes: str | None,
) -> ZarrStack:
    """Say which stored dimension is which: from the user, else from the names, else ZYX of three."""
    shape = tuple(level.shape)
    names = names or getattr(level.metadata, "dimension_names", None)
    if names is not None and len(names) != len(shape):
        raise unreadable(path, f"its metadata names {len(names)} dimensions, its array has {len(shape)}")
    if names is None or not any(names):
        stored = {2: "YX", 3: "QYX"}.get(len(shape), "Q" * len(shape))
        said = stored.replace("QYX", "ZYX")
    else:
        stored = said = letters_of(names, shape)
    if axes is None:
        letters = axis_letters.from_file(path, stored, shape, said, shape)
        return ZarrStack(path, folder, level, stored, letters, size)
    given, kept = axis_letters.from_user(path, axes, stored, shape)
    left = iter(given)
    # Dimensions without a letter are those of length 1.
    letters = given if len(kept) == len(shape) else "".join("T" if side == 1 else next(left) for side in shape)
    same_plane = all(stored.find(letter) == letters.index(letter) for letter in "YX")
    return ZarrStack(path, folder, level, stored, letters, size if same_plane else None)
