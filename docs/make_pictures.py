"""Draw the pictures of the documentation from the folder of a demo run, of a comparison, or of both.

tfcyclegan3d train --demo -o demo-run
tfcyclegan3d crossval --images stacks --truth stacks -o compared
python docs/make_pictures.py demo-run --compared compared
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from skimage.io import imread, imsave
from skimage.transform import resize
from skimage.util import img_as_ubyte

from tfcyclegan3d import config as configuration
from tfcyclegan3d.inference.pictures import overview
from tfcyclegan3d.synthesis.masks import synthesize_scene
from tfcyclegan3d.synthesis.pictures import draw_beside
from tfcyclegan3d.synthesis.prior import Prior
from tfcyclegan3d.training.report_figures import curves
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.volumes import read_volume

IMAGES = Path(__file__).parent / "images"
WIDEST = 1400  # Pixels of the previews, which a run draws larger.
WIDEST_COMPARISON = 1800  # It has four panels in a row.


def main() -> None:
    """Write the pictures of a run (demo, beside, preview, losses, checks, rose and vectors), and of a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="what 'tfcyclegan3d train --demo' wrote")
    parser.add_argument("--compared", type=Path, metavar="FOLDER", help="what 'tfcyclegan3d crossval' wrote")
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, help="folder to write to (docs/images)")
    options = parser.parse_args()
    if options.run is None and options.compared is None:
        parser.error("give the folder of a demo run, --compared, or both")
    options.output.mkdir(parents=True, exist_ok=True)
    if options.run is not None:
        draw_run(options.run, options.output)
    if options.compared is not None:
        draw_comparison(options.compared / "figure1.png", options.output / "data.jpg")
        draw_comparison(options.compared / "figure3.png", options.output / "comparison.jpg")


def draw_run(folder: Path, output: Path) -> None:
    """Draw what a demo run shows."""
    config = configuration.load(folder / "config.json")
    stack, mask, truth = (read_volume(folder / "demo" / f"{name}.tif") for name in ("stack", "mask", "truth"))
    save(overview(stack, mask, config.classes, truth), output / "demo.png", dpi=110)
    scene = synthesize_scene(stack.shape, Prior.from_dict(config.synthesis.prior), 1, stack.voxel_size_um)
    save(draw_beside(stack, scene), output / "beside.png", dpi=90)

    run = RunFolder(folder)
    draw_preview(run.previews()[-1], output / "preview.png")
    rows, selected = run.read_metrics(), run.read_manifest()["selected"]
    save(curves(rows, {"supervised": "supervised"}, "error on rendered masks"), output / "losses.png", dpi=110)
    kept = selected["epoch"] if selected else None
    variety = curves(rows, {"monitors/collapse": "collapse"}, "variety of the outputs (collapse)", 0.1, kept)
    save(variety, output / "checks.png", dpi=110)

    for name in ("polarity", "stack_vectors"):
        draw_preview(folder / "demo" / f"{name}.png", output / f"{name}.png")


def draw_preview(source: Path, target: Path) -> None:
    """Copy a picture, made smaller where it is wide."""
    picture = imread(source)
    if picture.shape[1] <= WIDEST:
        shutil.copy(source, target)
    else:
        imsave(target, narrowed(picture, WIDEST), check_contrast=False)
    print(target)


def draw_comparison(source: Path, target: Path) -> None:
    """Write a comparison's figure as JPEG, since surfaces in many shades, and noise, make a large PNG."""
    Image.fromarray(narrowed(imread(source)[..., :3], WIDEST_COMPARISON)).save(target, quality=85)
    print(target)


def narrowed(picture: np.ndarray, width: int) -> np.ndarray:
    """Return a picture no wider than so many pixels."""
    if picture.shape[1] <= width:
        return picture
    shape = (round(picture.shape[0] * width / picture.shape[1]), width, *picture.shape[2:])
    return img_as_ubyte(resize(picture, shape, anti_aliasing=True))


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure and say so."""
    figure.savefig(path, dpi=dpi, facecolor="white")
    print(path)


if __name__ == "__main__":
    main()
