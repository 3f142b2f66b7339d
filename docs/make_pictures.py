"""Draw the pictures of the documentation from the folder of a demo run.

tfcyclegan3d train --demo -o demo-run
python docs/make_pictures.py demo-run
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from matplotlib.figure import Figure
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


def main() -> None:
    """Write demo.png, beside.png, preview.png, losses.png and checks.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="what 'tfcyclegan3d train --demo' wrote")
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, help="folder to write to (docs/images)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    config = configuration.load(options.run / "config.json")
    stack, mask, truth = (read_volume(options.run / "demo" / f"{name}.tif") for name in ("stack", "mask", "truth"))
    save(overview(stack, mask, config.classes, truth), options.output / "demo.png", dpi=110)
    scene = synthesize_scene(stack.shape, Prior.from_dict(config.synthesis.prior), 1, stack.voxel_size_um)
    save(draw_beside(stack, scene), options.output / "beside.png", dpi=90)

    run = RunFolder(options.run)
    draw_preview(run.previews()[-1], options.output / "preview.png")
    rows = run.read_metrics()
    for name, columns, label, threshold in (
        ("losses", {"supervised": "supervised"}, "error on rendered masks", None),
        ("checks", {"monitors/collapse": "collapse"}, "variety of the outputs (collapse)", 0.1),
    ):
        save(curves(rows, columns, label, threshold), options.output / f"{name}.png", dpi=110)


def draw_preview(source: Path, target: Path) -> None:
    """Copy a preview, made smaller where it is wide."""
    picture = imread(source)
    if picture.shape[1] <= WIDEST:
        shutil.copy(source, target)
        return
    shape = (round(picture.shape[0] * WIDEST / picture.shape[1]), WIDEST, *picture.shape[2:])
    imsave(target, img_as_ubyte(resize(picture, shape, anti_aliasing=True)), check_contrast=False)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure and say so."""
    figure.savefig(path, dpi=dpi, facecolor="white")
    print(path)


if __name__ == "__main__":
    main()
