"""Pictures of what the generators do: image, predicted mask and reconstruction side by side."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tfcyclegan3d import panels, preprocessing, tiling

Translate = Callable[[np.ndarray], np.ndarray]

SHOWN_PERCENTILES = (2, 99)  # Of the planes shown, which become black and full colour.


def preview_figure(
    rows: list[tuple[str, list[np.ndarray]]], titles: list[str], class_names: Sequence[str], footer: str = ""
) -> Figure:
    """Draw rows of planes above a legend of the classes' colours.

    Parameters
    ----------
    rows : list of (str, list of ndarray)
        A row's label and its planes, YXC in [0, 1].
    titles : list of str
        Of the columns.
    class_names : sequence of str
        One a channel.
    footer : str
        Below the whole.
    """
    figure = Figure(figsize=(2.3 * len(titles) + 0.4, 2.3 * len(rows) + 1), layout="constrained")
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for row, (label, planes) in zip(axes, rows, strict=True):
        for axis, plane in zip(row, planes, strict=True):
            panels.show(axis, plane, class_names)
        row[0].set_ylabel(label)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    panels.legend(figure, class_names)
    if footer:
        figure.supxlabel(footer, fontsize=8, x=0.01, horizontalalignment="left")  # Beside the legend.
    return figure


def patch_to_show(
    image: np.ndarray, patch_shape: tuple[int, int, int], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Return a patch of an image (ZYXC) as it lies in the stack, and where in it there is no reflection."""
    padding = tiling.padding_to(image.shape[:3], patch_shape)
    spare = [max(side - size, 0) for side, size in zip(image.shape[:3], patch_shape, strict=True)]
    starts = [int(rng.integers(length + 1)) for length in spare]
    place = tuple(slice(first, first + size) for first, size in zip(starts, patch_shape, strict=True))
    # An axis is either padded to the patch's size, and starts at 0, or is not padded at all.
    crop = tuple(slice(before, size - after) for (before, after), size in zip(padding, patch_shape, strict=True))
    return preprocessing.pad_to(image[place], patch_shape), crop


def translations_figure(
    to_mask: Translate,
    to_image: Translate,
    shown: Sequence[tuple[np.ndarray, tuple[slice, ...]]],
    masks: np.ndarray,
    class_names: Sequence[str],
    footer: str,
) -> Figure:
    """Draw image, mask and image again, beside mask, image and mask again.

    Parameters
    ----------
    to_mask, to_image : callable
        From BZYXC in [-1, 1] to the same.
    shown : sequence of (ndarray, tuple of slice)
        Patches of images, as `patch_to_show` gives them.
    masks : ndarray, NZYXC in [-1, 1]
        As many synthetic masks; channels beyond the classes' are not drawn.
    class_names : sequence of str
        One a channel.
    footer : str
        Below the whole.
    """
    images, crops = np.stack([patch for patch, _ in shown]), [crop for _, crop in shown]
    fake_masks, fake_images = to_mask(images), to_image(masks)
    whole = [...] * len(masks)
    columns = (
        *((images, crops), (fake_masks, crops), (to_image(fake_masks), crops)),
        *((masks, whole), (fake_images, whole), (to_mask(fake_images), whole)),
    )
    planes = [
        [middle_plane(patch[crop])[..., : len(class_names)] for patch, crop in zip(several, places, strict=True)]
        for several, places in columns
    ]
    planes = [mask_display(some) if k % 2 else image_display(some, like=planes[0]) for k, some in enumerate(planes)]
    rows = [(f"patch {i + 1}", list(row)) for i, row in enumerate(zip(*planes, strict=True))]
    titles = ["image", "predicted mask", "image again", "synthetic mask", "image made of it", "mask again"]
    return preview_figure(rows, titles, class_names, footer)


def segmentations_figure(
    to_mask: Translate,
    images: np.ndarray,
    truths: np.ndarray,
    class_names: Sequence[str],
    footer: str,
) -> Figure:
    """Draw images, their truth, and the masks predicted from them.

    Parameters
    ----------
    to_mask : callable
        From BZYXC in [-1, 1] to the same.
    images, truths : ndarray, NZYXC in [-1, 1]
        Patches.
    class_names : sequence of str
        One a channel.
    footer : str
        Below the whole.
    """
    columns = [[middle_plane(patch) for patch in several] for several in (images, truths, to_mask(images))]
    planes = [image_display(columns[0], like=columns[0]), *map(mask_display, columns[1:])]
    rows = [(f"patch {i + 1}", list(row)) for i, row in enumerate(zip(*planes, strict=True))]
    return preview_figure(rows, ["image", "truth", "predicted mask"], class_names, footer)


def middle_plane(patch: np.ndarray) -> np.ndarray:
    """Return the middle Z plane of a patch, ZYXC, as YXC float32."""
    return np.asarray(patch[patch.shape[0] // 2], dtype=np.float32)


def mask_display(planes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Bring planes of masks (YXC in [-1, 1]) to [0, 1]."""
    return [np.clip((plane + 1) / 2, 0, 1) for plane in planes]


def image_display(planes: Sequence[np.ndarray], like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Bring planes of images (YXC) to [0, 1], each channel by the same percentiles of the planes of ``like``."""
    values = np.concatenate([plane.reshape(-1, plane.shape[-1]) for plane in like])
    bounds = preprocessing.stretch_bounds(values, SHOWN_PERCENTILES)
    return [(preprocessing.stretch(plane, bounds) + 1) / 2 for plane in planes]


def png_of(figure: Figure, dpi: int = 110) -> bytes:
    """Return a figure as PNG, drawn without touching any display."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"savefig.facecolor": "white"}):
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
