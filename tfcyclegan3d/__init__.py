"""Label-free segmentation of organelles in 3D fluorescence microscopy.

The public names below load when first used: importing the package, or asking a command for help, loads no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfcyclegan3d import kernels
from tfcyclegan3d.version import __version__

if TYPE_CHECKING:
    from tfcyclegan3d import figures, presets
    from tfcyclegan3d.config import Config
    from tfcyclegan3d.describing import describe
    from tfcyclegan3d.evaluation.objects import evaluate_objects
    from tfcyclegan3d.evaluation.overlap import evaluate
    from tfcyclegan3d.experiments.comparison_demo import compare_on_simulated
    from tfcyclegan3d.experiments.cross_validation import CrossValidation, cross_validate
    from tfcyclegan3d.experiments.data_layout import plain_layout
    from tfcyclegan3d.experiments.two_stage import train_two_stage
    from tfcyclegan3d.exporting.export import export_model
    from tfcyclegan3d.inference.predictor import SegmentationModel, load_model
    from tfcyclegan3d.objects.analysis import Analysis, analyse
    from tfcyclegan3d.objects.instances import label_objects, voronoi_otsu
    from tfcyclegan3d.objects.measurements import measure_objects
    from tfcyclegan3d.objects.pairing import Polarity, pair_objects, polarity
    from tfcyclegan3d.synthesis.diameters import prior_for
    from tfcyclegan3d.synthesis.fitting import PriorFit, fit_prior
    from tfcyclegan3d.synthesis.masks import SyntheticMasks, synthesize_masks
    from tfcyclegan3d.synthesis.microscope import Microscope
    from tfcyclegan3d.synthesis.microscope_file import load_microscope, save_microscope
    from tfcyclegan3d.synthesis.object_prior import ObjectPrior
    from tfcyclegan3d.synthesis.prior import NUCLEI, NUCLEI_AND_GOLGI, Prior
    from tfcyclegan3d.synthesis.prior_file import load_prior, save_prior
    from tfcyclegan3d.synthesis.simulation import Camera, SimulatedStack, simulate_stack
    from tfcyclegan3d.thresholding import otsu_mask
    from tfcyclegan3d.training.run import Run, train
    from tfcyclegan3d.volumes import Volume, read_volume, write_volume

kernels.choose()

_HOMES = {
    "Analysis": "objects.analysis",
    "Camera": "synthesis.simulation",
    "Config": "config",
    "CrossValidation": "experiments.cross_validation",
    "Microscope": "synthesis.microscope",
    "NUCLEI": "synthesis.prior",
    "NUCLEI_AND_GOLGI": "synthesis.prior",
    "ObjectPrior": "synthesis.object_prior",
    "Prior": "synthesis.prior",
    "Polarity": "objects.pairing",
    "PriorFit": "synthesis.fitting",
    "Run": "training.run",
    "SegmentationModel": "inference.predictor",
    "SimulatedStack": "synthesis.simulation",
    "SyntheticMasks": "synthesis.masks",
    "Volume": "volumes",
    "analyse": "objects.analysis",
    "compare_on_simulated": "experiments.comparison_demo",
    "cross_validate": "experiments.cross_validation",
    "describe": "describing",
    "evaluate": "evaluation.overlap",
    "evaluate_objects": "evaluation.objects",
    "export_model": "exporting.export",
    "fit_prior": "synthesis.fitting",
    "label_objects": "objects.instances",
    "load_microscope": "synthesis.microscope_file",
    "load_model": "inference.predictor",
    "load_prior": "synthesis.prior_file",
    "measure_objects": "objects.measurements",
    "otsu_mask": "thresholding",
    "pair_objects": "objects.pairing",
    "plain_layout": "experiments.data_layout",
    "polarity": "objects.pairing",
    "prior_for": "synthesis.diameters",
    "read_volume": "volumes",
    "save_microscope": "synthesis.microscope_file",
    "save_prior": "synthesis.prior_file",
    "simulate_stack": "synthesis.simulation",
    "synthesize_masks": "synthesis.masks",
    "train": "training.run",
    "train_two_stage": "experiments.two_stage",
    "voronoi_otsu": "objects.instances",
    "write_volume": "volumes",
}

__all__ = [
    "NUCLEI",
    "NUCLEI_AND_GOLGI",
    "Analysis",
    "Camera",
    "Config",
    "CrossValidation",
    "Microscope",
    "ObjectPrior",
    "Polarity",
    "Prior",
    "PriorFit",
    "Run",
    "SegmentationModel",
    "SimulatedStack",
    "SyntheticMasks",
    "Volume",
    "__version__",
    "analyse",
    "compare_on_simulated",
    "cross_validate",
    "describe",
    "evaluate",
    "evaluate_objects",
    "export_model",
    "figures",
    "fit_prior",
    "label_objects",
    "load_microscope",
    "load_model",
    "load_prior",
    "measure_objects",
    "otsu_mask",
    "pair_objects",
    "plain_layout",
    "polarity",
    "presets",
    "prior_for",
    "read_volume",
    "save_microscope",
    "save_prior",
    "simulate_stack",
    "synthesize_masks",
    "train",
    "train_two_stage",
    "voronoi_otsu",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in."""
    if name in ("figures", "presets"):
        return importlib.import_module(f"tfcyclegan3d.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tfcyclegan3d' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tfcyclegan3d.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
