"""Simulated stacks with their truth: drawn objects, seen through a simulated microscope, as a camera stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcyclegan3d.synthesis.masks import SyntheticMasks, synthesize_masks
from tfcyclegan3d.synthesis.microscope import CLEAN, Microscope, render
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI, Prior
from tfcyclegan3d.volumes import Volume

COUNTS_PER_BRIGHTNESS, CAMERA_OFFSET = 1000.0, 100.0


@dataclass(frozen=True)
class SimulatedStack:
    """A stack and its truth.

    Parameters
    ----------
    image : Volume
        ZYXC uint16, one channel a class.
    truth : SyntheticMasks
        What was drawn, with numbered objects.
    """

    image: Volume
    truth: SyntheticMasks


def simulate_stack(
    shape: Sequence[int], prior: Prior = NUCLEI_AND_GOLGI, microscope: Microscope = CLEAN, seed: int | Sequence[int] = 0
) -> SimulatedStack:
    """Simulate one stack.

    Parameters
    ----------
    shape : (z, y, x)
        In voxels.
    prior : Prior
        What is in it.
    microscope : Microscope
        How it is seen; ``CLEAN`` and ``HARD`` in ``synthesis.microscope`` are the ones of ``simulate``.
    seed : int or sequence of int
        The same seed gives the same stack.

    Raises
    ------
    OptionError
        For a shape that is none.
    """
    drawing, seeing = np.random.SeedSequence(seed).spawn(2)
    truth = synthesize_masks(shape, prior, np.random.default_rng(drawing))
    light = render(truth.objects, microscope, np.random.default_rng(seeing))
    counts = np.clip(np.rint(light * COUNTS_PER_BRIGHTNESS + CAMERA_OFFSET), 0, np.iinfo(np.uint16).max)
    return SimulatedStack(Volume(counts.astype(np.uint16), None, "simulated"), truth)
