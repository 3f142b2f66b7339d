"""Stacks opened one at a time, so that many of them take no more memory than one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.tiff import reading
from tfcyclegan3d.volumes import Grid, Volume, read_grid, read_volume

Stack = Volume | np.ndarray | str | Path
Read = TypeVar("Read")


class Stacks(Sequence[Volume]):
    """A sequence of volumes that reads a file each time its volume is asked for.

    What is larger than 64 MiB stays on disk (see ``read_volume``); of smaller ones the first 64 MiB in all, and the
    latest, are kept.

    Parameters
    ----------
    stacks : Volume, ndarray, path, or iterable of these
        Arrays are ZYX or ZYXC.
    axes, channels, voxel_size_um
        How to read files (see ``read_volume``); of arrays and volumes, the channels to keep.
    axes_where_unclear : str, optional
        How to read files whose axes neither they nor ``axes`` tell, such as masks stored like their images.
    scratch_folder : str or Path, optional
        Where to put what must be decoded and stays on disk; the system's folder for temporary files if not given.
    allow_missing_chunks : bool
        Take chunks of a zarr that are not stored for empty ones.

    Raises
    ------
    UserError
        As ``read_grid`` does.
    """

    def __init__(
        self,
        stacks: Stack | Iterable[Stack],
        axes: str | None = None,
        channels: Sequence[int] | None = None,
        voxel_size_um: tuple[float, float, float] | None = None,
        *,
        axes_where_unclear: str | None = None,
        scratch_folder: str | Path | None = None,
        allow_missing_chunks: bool = False,
    ) -> None:
        self.given = [stacks] if isinstance(stacks, Volume | np.ndarray | str | Path) else list(stacks)
        self._reading: dict[str, Any] = {
            "axes": axes,
            "channels": channels,
            "voxel_size_um": voxel_size_um,
            "allow_missing_chunks": allow_missing_chunks,
        }
        self._axes_where_unclear = axes_where_unclear
        self._scratch_folder = scratch_folder
        self._kept: dict[int, Volume] = {}
        self._latest: tuple[int, Volume] | None = None
        self.grids: tuple[Grid, ...] = tuple(map(self._grid, self.given))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.given)

    @overload
    def __getitem__(self, index: int) -> Volume: ...

    @overload
    def __getitem__(self, index: slice) -> list[Volume]: ...

    def __getitem__(self, index: int | slice) -> Volume | list[Volume]:
        """Open a stack."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        stack = self.given[index]
        if not isinstance(stack, str | Path):
            return self._volume(stack)
        if index in self._kept:
            return self._kept[index]
        if self._latest is None or self._latest[0] != index:
            # Room for the next one, where what is larger is decoded to.
            self._latest = None
            scratch = ScratchFile(self._scratch_folder)
            self._latest = index, self._as_clear(read_volume, stack, scratch=scratch)
        volume = self._latest[1]
        n_bytes = volume.array.nbytes + sum(one.array.nbytes for one in self._kept.values())
        if volume.array.flags.writeable and n_bytes <= reading.MOST_IN_MEMORY:
            self._kept[index] = volume
        return volume

    def _grid(self, stack: Stack) -> Grid:
        return self._as_clear(read_grid, stack) if isinstance(stack, str | Path) else self._volume(stack).grid

    def _as_clear(self, read: Callable[..., Read], path: str | Path, **how: Any) -> Read:
        """Read a file by its own axes, or by those for files that do not tell theirs."""
        try:
            return read(path, **self._reading, **how)
        except errors.AxesError:
            if self._axes_where_unclear is None:
                raise
            return read(path, **self._reading | {"axes": self._axes_where_unclear}, **how)

    def _volume(self, stack: Volume | np.ndarray) -> Volume:
        volume = stack if isinstance(stack, Volume) else Volume(stack)
        channels = self._reading["channels"]
        return volume if channels is None else volume.select_channels(channels)


def grids_of(volumes: Sequence[Volume]) -> tuple[Grid, ...]:
    """Return the grids of volumes without opening any file."""
    return volumes.grids if isinstance(volumes, Stacks) else tuple(volume.grid for volume in volumes)
