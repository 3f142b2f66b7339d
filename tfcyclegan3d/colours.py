"""In which colours classes are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Magenta and green are told apart by the colour-blind and add up to white.
_IN_PICTURES = {"golgi": (1.0, 0.0, 1.0), "nuclei": (0.0, 1.0, 0.0)}
_FURTHER = ((0.0, 0.45, 1.0), (1.0, 0.6, 0.0), (0.6, 0.6, 0.6), (1.0, 1.0, 0.0))
# In stacks, whose viewer can change them, the paper's: Golgi red, nuclei green.
_IN_STACKS = _IN_PICTURES | {"golgi": (1.0, 0.0, 0.0)}


def picture_colours(class_names: Sequence[str]) -> np.ndarray:
    """Return a colour, (n_classes, 3) float in [0, 1], for each class in a picture; a single class is white."""
    return _colours(class_names, _IN_PICTURES) if len(class_names) > 1 else np.ones((1, 3))


def stack_colours(class_names: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return a colour, three whole numbers up to 255, for each channel of a stack."""
    colours = np.rint(255 * _colours(class_names, _IN_STACKS)).astype(int).tolist()
    return [(red, green, blue) for red, green, blue in colours]


def composite(plane: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Lay the channels of a plane (YXC in [0, 1]) over each other in their colours (YX3 in [0, 1])."""
    mixed: np.ndarray = np.clip(np.asarray(plane, dtype=np.float64) @ picture_colours(class_names), 0, 1)
    return mixed


def _colours(class_names: Sequence[str], known: dict[str, tuple[float, float, float]]) -> np.ndarray:
    further = iter(_FURTHER * len(class_names))
    return np.array([known[name] if name in known else next(further) for name in class_names])
