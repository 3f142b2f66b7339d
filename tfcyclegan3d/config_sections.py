"""The sections of a configuration: one frozen dataclass per stage, each of which checks its own ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tfcyclegan3d.strict import require

Triple = tuple[int, int, int]
Pair = tuple[float, float]


@dataclass(frozen=True)
class PreprocessingConfig:
    """How intensities and grids are prepared.

    Parameters
    ----------
    percentiles : (float, float) or tuple of (float, float), optional
        Contrast stretching: the percentiles of a channel's whole volume that become -1 and 1, the same for every class
        or a pair for each. Without a value 95 and 99.8 for Golgi, 95 and 98 for every other class, as in the paper's
        published code.
    downsampling : (int, int, int), optional
        Voxels of the stack, along Z, Y and X, averaged into one voxel that the networks see. Without a value it is
        chosen from the size of the objects and written back into the run's ``config.json``.
    working_diameter : float
        What ``downsampling`` aims at when it is chosen: objects about this many voxels across.
    """

    percentiles: tuple[Pair, ...] | Pair | None = (95.0, 98.0)
    downsampling: Triple | None = (1, 1, 1)
    working_diameter: float = 8.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        given: Any = self.percentiles or ()
        pairs = given if given and isinstance(given[0], Sequence) else (given,) if given else ()
        require(
            all(0 <= low < high <= 100 for low, high in pairs),
            "preprocessing.percentiles",
            self.percentiles,
            "give 0 <= low < high <= 100",
        )
        require(
            self.downsampling is None or min(self.downsampling) >= 1,
            "preprocessing.downsampling",
            self.downsampling,
            "give three whole numbers of at least 1",
        )
        require(
            0 < self.working_diameter < math.inf,
            "preprocessing.working_diameter",
            self.working_diameter,
            "give more than 0",
        )


@dataclass(frozen=True)
class SynthesisConfig:
    """Which synthetic masks are drawn when none are given.

    Parameters
    ----------
    prior : dict, optional
        What to draw (see ``tfcyclegan3d.synthesis.prior``). Without one it follows from diameters and classes.
    diameters : dict, optional
        Typical diameter of each class: a number of voxels along X, or a text such as ``"8um"``.
    fill_from_stack : bool
        Where no prior is given: draw masks as full as the stacks look, by Otsu's threshold beside given diameters,
        or by what is measured in them. False draws the paper's prior where its classes are asked for without diameters.
    n_masks : int
        Mask volumes drawn.
    maximum_shape : (int, int, int), optional
        Masks are drawn in the shape of the user's stacks, but no larger than this, in the voxels the networks see.
    centres : bool
        Beside each class's mask, the networks learn how far inside its object a voxel lies, which tells objects that
        touch apart.
    """

    prior: dict | None = None
    diameters: dict | None = None
    fill_from_stack: bool = False
    n_masks: int = 3
    maximum_shape: Triple | None = None
    centres: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self.n_masks >= 1, "synthesis.n_masks", self.n_masks, "give at least 1")
        require(
            self.maximum_shape is None or min(self.maximum_shape) >= 8,
            "synthesis.maximum_shape",
            self.maximum_shape,
            "give three whole numbers of at least 8",
        )


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks.

    Parameters
    ----------
    filters, blocks : int
        Of the generators: filters of the first convolution, number of residual blocks.
    end_kernel : int
        Side of the generators' first and last kernels.
    residual : {"add", "concatenate"}
        What the generators' residual blocks do with their input: add it, as in the CycleGAN paper, or keep it beside
        their own channels, as in the paper's published code.
    normalization : {"instance", "batch", "none"}
        In the generators.
    mask_to_image_normalization : {"instance", "batch", "none"} or None
        In ``mask_to_image``, where that is to have another than ``image_to_mask``.
    output_normalization : {"none", "instance"}
        Right before the generators' tanh.
    critic_filters, critic_levels : int
        Of the critics: filters of the first convolution, number of strided convolutions.
    critic_normalization : {"instance", "batch", "none"}
        In the critics.
    """

    filters: int = 32
    blocks: int = 9
    end_kernel: int = 7
    residual: Literal["add", "concatenate"] = "add"
    normalization: Literal["instance", "batch", "none"] = "instance"
    mask_to_image_normalization: Literal["instance", "batch", "none"] | None = None
    output_normalization: Literal["none", "instance"] = "none"
    critic_filters: int = 64
    critic_levels: int = 4
    critic_normalization: Literal["instance", "batch", "none"] = "instance"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, low in (
            ("filters", 1),
            ("blocks", 0),
            ("end_kernel", 1),
            ("critic_filters", 1),
            ("critic_levels", 1),
        ):
            require(getattr(self, name) >= low, f"model.{name}", getattr(self, name), f"give at least {low}")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the generators' losses.

    Parameters
    ----------
    adversarial, cycle, identity : float
        Weights of the three terms of CycleGAN. A term of weight 0 is not computed.
    adversarial_mask : float, optional
        Weight of what the mask critic says of the fake masks; that of ``adversarial`` without a value.
    cycle_mask : {"l1", "segmentation"}
        How a mask that went through an image and back is compared with itself: by L1, as in the paper, or by the
        cross-entropy and Dice of segmentation networks.
    class_weights : tuple of float, optional
        Of each class in the L1 terms; without a value 3.5 for Golgi and 1 for every other class.
    foreground_weights : tuple of float, optional
        How much more a voxel of an object weighs than one of background where a mask is the target, class by class; 1
        is plain L1. Without a value it follows from how rare each class is in the masks.
    foreground_power : float
        The power of themselves that these weights fade to during the start, in [0, 1]: 1 keeps them as they are, 0 ends
        with plain losses.
    foreground_fade : float
        Share of the start after which they have faded, in (0, 1]. Epochs before that draw objects too large by
        intention, and are no candidates any more once there is a later one.
    supervised, supervised_end : float
        Weight of the term on rendered synthetic masks, at the beginning and at the end of the adversarial part.
    cycle_noise : float
        Deviation of the noise between the two halves of a cycle, so that nothing can be hidden there.
    critic_noise : float
        Deviation of the noise on everything the critics see.
    """

    adversarial: float = 1.0
    cycle: float = 10.0
    identity: float = 5.0
    adversarial_mask: float | None = None
    cycle_mask: Literal["l1", "segmentation"] = "l1"
    class_weights: tuple[float, ...] | None = None
    foreground_weights: tuple[float, ...] | None = (1.0,)
    foreground_power: float = 0.6
    foreground_fade: float = 1.0
    supervised: float = 0.0
    supervised_end: float = 0.0
    cycle_noise: float = 0.0
    critic_noise: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("adversarial", "cycle", "identity", "supervised", "supervised_end", "cycle_noise", "critic_noise"):
            require(0 <= getattr(self, name) < math.inf, f"losses.{name}", getattr(self, name), "give 0 or more")
        power = self.foreground_power
        require(0 <= power <= 1, "losses.foreground_power", power, "give 0 to 1")
        fade = self.foreground_fade
        require(0 < fade <= 1, "losses.foreground_fade", fade, "give a share above 0, up to 1")
        require(
            self.adversarial_mask is None or 0 <= self.adversarial_mask < math.inf,
            "losses.adversarial_mask",
            self.adversarial_mask,
            "give 0 or more",
        )
        for name in ("class_weights", "foreground_weights"):
            weights = getattr(self, name)
            require(
                weights is None or all(0 <= weight < math.inf for weight in weights),
                f"losses.{name}",
                weights,
                "give 0 or more for each class",
            )


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how fast and on what the networks train.

    Parameters
    ----------
    epochs, steps_per_epoch : int
        Length of the training.
    max_minutes : float, optional
        Train at most so long; the schedules then follow the clock where it is ahead of the steps.
    batch_size : int
        Patches of each kind in a step, on all devices together.
    devices : int, optional
        Devices of a machine that share each batch in equal parts. Without a value as many of its GPUs as divide the
        batch, or one device where there is no GPU.
    patch_shape : (int, int, int)
        Z, Y, X of a patch, in the voxels the networks see; multiples of 4.
    augmentation : bool
        Whether patches of stacks and masks are flipped, and turned in the plane, at random.
    mixed_precision : {"auto", "off", "bfloat16", "float16"}
        Compute type of the convolutions.
    start_fraction : float
        Share of the training spent on rendered synthetic masks alone before the adversarial part begins.
    object_share : float
        Share of the rendered patches that are laid onto an object, in [0, 1]; the others lie anywhere. Where objects
        are sparse, patches that lie anywhere show few of them.
    start_learning_rate, generator_learning_rate, critic_learning_rate : float
        Adam's rates: in that start, and in the adversarial part.
    beta_1 : float
        Adam's momentum.
    decay_from : float
        Share of the adversarial part after which the rates fall linearly to ``final_rate`` times themselves.
    final_rate : float
        Where they end.
    generator_update : {"joint", "separate"}
        Whether one update a step trains both generators and one both critics, or each network has updates of its own,
        one after another, as in the paper's published code.
    pool_size : int
        Fakes kept for the critics.
    average_momentum : float
        Of the exponential moving average of the generators' weights, which is what a run saves; 0 saves the weights
        themselves.
    match_diameters : bool
        Whether, in the end, outlines are moved outwards where objects come out smaller than the diameters given.
    checkpoint_every : int
        Epochs between two checkpoints.
    keep_checkpoints : int
        Checkpoints kept.
    """

    epochs: int = 100
    steps_per_epoch: int = 216
    max_minutes: float | None = None
    batch_size: int = 2
    devices: int | None = None
    patch_shape: Triple = (64, 64, 64)
    augmentation: bool = True
    mixed_precision: Literal["auto", "off", "bfloat16", "float16"] = "auto"
    start_fraction: float = 0.0
    object_share: float = 0.0
    start_learning_rate: float = 5e-4
    generator_learning_rate: float = 5e-4
    critic_learning_rate: float = 1e-4
    beta_1: float = 0.5
    decay_from: float = 0.5
    final_rate: float = 1.0
    generator_update: Literal["joint", "separate"] = "joint"
    pool_size: int = 50
    average_momentum: float = 0.0
    match_diameters: bool = False
    checkpoint_every: int = 1
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "steps_per_epoch", "batch_size", "checkpoint_every", "keep_checkpoints"):
            require(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), "give at least 1")
        require(self.devices is None or self.devices >= 1, "training.devices", self.devices, "give at least 1")
        require(self.pool_size >= 0, "training.pool_size", self.pool_size, "give 0 or more")
        for name in ("start_learning_rate", "generator_learning_rate", "critic_learning_rate"):
            require(0 < getattr(self, name) < math.inf, f"training.{name}", getattr(self, name), "give more than 0")
        for name in ("start_fraction", "object_share", "beta_1", "decay_from", "final_rate", "average_momentum"):
            require(0 <= getattr(self, name) <= 1, f"training.{name}", getattr(self, name), "give 0 to 1")
        require(
            self.max_minutes is None or 0 < self.max_minutes < math.inf,
            "training.max_minutes",
            self.max_minutes,
            "give more than 0",
        )
        require(
            all(side >= 8 and side % 4 == 0 for side in self.patch_shape),
            "training.patch_shape",
            self.patch_shape,
            "give three multiples of 4, each at least 8",
        )


@dataclass(frozen=True)
class SupervisedConfig:
    """How methods that learn from pairs of stacks and masks train; ``presets.with_method`` gives each its own.

    Parameters
    ----------
    levels : int
        Resolutions of the 3D U-Net.
    dropout : float
        Share of the values dropped in Vox2Vox' bottleneck.
    dice_weight : float
        Weight of the Dice term beside the adversarial one, Vox2Vox' alpha.
    rotation : float
        Patches are turned in the plane by up to so many degrees either way.
    rotation_share : float
        Of the patches that are.
    n_validation : int, optional
        Stacks, the last ones given, that are validated on. Without a value a quarter of them, or a quarter of the
        only one.
    patience : int
        Epochs without a better validation before the training ends.
    """

    levels: int = 4
    dropout: float = 0.2
    dice_weight: float = 5.0
    rotation: float = 30.0
    rotation_share: float = 0.4
    n_validation: int | None = None
    patience: int = 10

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, low, high in (
            ("levels", 1, 8),
            ("dropout", 0, 0.95),
            ("dice_weight", 0, math.inf),
            ("rotation", 0, 180),
            ("rotation_share", 0, 1),
            ("patience", 1, math.inf),
        ):
            value = getattr(self, name)
            remedy = f"give at least {low}" if high == math.inf else f"give {low} to {high}"
            require(low <= value <= high and value < math.inf, f"supervised.{name}", value, remedy)
        given = self.n_validation
        require(given is None or given >= 1, "supervised.n_validation", given, "give at least 1")
