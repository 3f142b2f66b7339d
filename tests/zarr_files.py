"""OME-Zarr images and zarr arrays written by plain calls of zarr, for what the package reads."""

import zarr

TYPES_OF_AXES = {"t": "time", "c": "channel"}


def stored_as(array, axes):
    """Return a ZYXC array with its axes in another order, to which t of length 1 may belong; without c, its first."""
    array = array[..., None] if "c" in axes else array[..., :1]
    letters = "zyxct" if "c" in axes else "zyxt"
    array = array if "t" in axes else array[..., 0]
    return array.transpose([letters.index(letter) for letter in axes])


def write_array(path, array, zarr_format=3, chunks=None, **options):
    """Write every chunk of an array, those of nought too."""
    chunks = chunks or tuple(-(-side // 2) for side in array.shape)
    with zarr.config.set({"array.write_empty_chunks": True}):
        made = zarr.create_array(
            str(path), shape=array.shape, dtype=array.dtype, chunks=chunks,
            zarr_format=zarr_format, **options,
        )  # fmt: skip
    made[...] = array
    return made


def write_image(path, array, axes="czyx", scale=None, units=None, zarr_format=3, image_scale=None, **options):
    """Write an OME-Zarr image of one level; ``array`` is stored in the order of ``axes``."""
    described = [{"name": letter, "type": TYPES_OF_AXES.get(letter, "space")} for letter in axes]
    for axis, unit in zip(described, units or [None] * len(axes), strict=True):
        axis.update({"unit": unit} if unit else {})
    multiscale = {"axes": described, "datasets": [{"path": "0"}]}
    multiscale["datasets"][0]["coordinateTransformations"] = [{"type": "scale", "scale": scale or [1.0] * len(axes)}]
    if image_scale:
        multiscale["coordinateTransformations"] = [{"type": "scale", "scale": image_scale}]
    attributes = {"multiscales": [multiscale]}
    zarr.create_group(
        str(path),
        zarr_format=zarr_format,
        attributes={"ome": {"version": "0.5", **attributes}} if zarr_format == 3 else attributes,
    )
    return write_array(path / "0", array, zarr_format, **options)
