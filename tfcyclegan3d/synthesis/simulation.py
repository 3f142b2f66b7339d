"""Simulated stacks with their truth: drawn objects, seen through a simulated microscope, as a camera stores them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis.masks import SyntheticMasks, seed_sequence, synthesize_masks, too_large
from tfcyclegan3d.synthesis.microscope import CLEAN, Microscope
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI, Prior
from tfcyclegan3d.synthesis.rendering import render
from tfcyclegan3d.volumes import Volume


@dataclass(frozen=True)
class Camera:
    """How intensities become counts.

    Parameters
    ----------
    bits : {8, 16}
        Of a voxel. What exceeds the largest count is stored as that.
    offset : float
        Counts where there is no light, 0 or more.
    gain : float
        Counts of brightness 1 beyond the offset, above 0.

    Raises
    ------
    OptionError
        For values out of these ranges.
    """

    bits: int = 16
    offset: float = 100.0
    gain: float = 1000.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.bits not in (8, 16):
            raise errors.OptionError("camera bits", self.bits, "give 8 or 16")
        if not 0 <= self.offset < math.inf:
            raise errors.OptionError("camera offset", self.offset, "give 0 or more counts")
        if not 0 < self.gain < math.inf:
            raise errors.OptionError("camera gain", self.gain, "give more than 0 counts")

    def counts(self, light: np.ndarray) -> np.ndarray:
        """Return intensities (of any shape, 1 in a typical object) as uint8 or uint16."""
        dtype = np.dtype(f"uint{self.bits}")
        return np.clip(np.rint(light * self.gain + self.offset), 0, np.iinfo(dtype).max).astype(dtype)


CAMERAS = {8: Camera(8, offset=8.0, gain=80.0), 16: Camera()}
"""By bits, the cameras of ``simulate``: their range holds three times the brightness of a typical object, or more."""


@dataclass(frozen=True)
class SimulatedStack:
    """A stack and its truth.

    Parameters
    ----------
    image : Volume
        ZYXC uint8 or uint16, one channel a class.
    truth : SyntheticMasks
        What was drawn, with numbered objects.
    """

    image: Volume
    truth: SyntheticMasks


def simulate_stack(
    shape: Sequence[int],
    prior: Prior = NUCLEI_AND_GOLGI,
    microscope: Microscope = CLEAN,
    seed: int | Sequence[int] = 0,
    camera: Camera = CAMERAS[16],
    voxel_size_um: tuple[float, float, float] | None = None,
) -> SimulatedStack:
    """Simulate one stack.

    Parameters
    ----------
    shape : (z, y, x)
        In voxels.
    prior : Prior
        What is in it.
    microscope : Microscope
        How it is seen; ``CLEAN``, ``HARD`` and ``ANY`` in ``synthesis.microscope`` are the ones of ``simulate``.
    seed : int or sequence of int
        The same seed gives the same stack.
    camera : Camera
        How it is stored.
    voxel_size_um : (z, y, x), optional
        In micrometres: recorded, and needed by a prior in micrometres.

    Raises
    ------
    OptionError
        For a shape or seed that is none, or a shape larger than memory.
    PriorError
        Where the prior cannot be drawn in it.
    """
    drawing, seeing = seed_sequence(seed).spawn(2)
    truth = synthesize_masks(shape, prior, np.random.default_rng(drawing), voxel_size_um)
    try:
        counts = camera.counts(render(truth.objects, microscope, np.random.default_rng(seeing)))
    except MemoryError as error:
        raise too_large(shape) from error
    return SimulatedStack(Volume(counts, voxel_size_um, "simulated"), truth)
