"""Two stacks of the same classes, channel by channel; arrays only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfcyclegan3d import errors


def default_class_names(n_classes: int) -> tuple[str, ...]:
    """Return the names of classes nobody named: nuclei; golgi, nuclei (the paper's red, green); else class_0, ..."""
    known = {1: ("nuclei",), 2: ("golgi", "nuclei")}
    return known.get(n_classes) or tuple(f"class_{k}" for k in range(n_classes))


def title_of(volume: object, role: str) -> str:
    """Return what an error calls a volume: its role, and its name where it has one."""
    name = getattr(volume, "name", None)
    return f"{role} {name}" if name else role


def channels_of(volume: object, role: str) -> np.ndarray:
    """Return a Volume's or an array's values as ZYXC; ZYX is one class.

    Raises
    ------
    VolumeContentError
        For another number of axes, or no voxels.
    """
    array, title = np.asarray(getattr(volume, "array", volume)), title_of(volume, role)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4:
        raise errors.VolumeContentError(title, f"has {array.ndim} axes, shape {array.shape}", "give ZYX or ZYXC")
    if array.size == 0:
        raise errors.VolumeContentError(title, f"is empty, shape {array.shape}", "give a stack with voxels")
    return array


def shared_classes(
    predicted: np.ndarray, true: np.ndarray, titles: tuple[str, str], class_names: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the names of the classes that two stacks ZYXC share.

    Parameters
    ----------
    predicted, true : ndarray
        ZYXC.
    titles : (str, str)
        What an error calls them.
    class_names : sequence of str, optional
        One name per channel; ``default_class_names`` otherwise.

    Raises
    ------
    ShapeMismatchError, ChannelError, OptionError
        Where the stacks do not fit each other, or the names do not fit them.
    """
    if predicted.shape[:3] != true.shape[:3]:
        raise errors.ShapeMismatchError(titles[0], predicted.shape[:3], titles[1], true.shape[:3])
    n_classes = predicted.shape[3]
    if n_classes != true.shape[3]:
        raise errors.ChannelError(
            titles[0], n_classes, f"but {titles[1]} has {true.shape[3]}", "give both with one channel for each class"
        )
    classes = default_class_names(n_classes) if class_names is None else tuple(class_names)
    if len(classes) != n_classes:
        named = "1 class is" if len(classes) == 1 else f"{len(classes)} classes are"
        raise errors.ChannelError(
            titles[0], n_classes, f"but {named} named: {', '.join(classes)}", "name one class for each channel"
        )
    if len(set(classes)) != n_classes:
        raise errors.OptionError("classes", ",".join(classes), "give every class a name of its own")
    return classes
