"""What a run is made of, loaded and saved strictly.

A key that does not exist, or a value that does not fit its field, is an error that names both.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from tfcyclegan3d import errors
from tfcyclegan3d.config_inference import InferenceConfig
from tfcyclegan3d.config_monitors import MonitorsConfig
from tfcyclegan3d.config_sections import (
    LossConfig,
    ModelConfig,
    PreprocessingConfig,
    SupervisedConfig,
    SynthesisConfig,
    TrainingConfig,
)
from tfcyclegan3d.strict import build, require

Method = Literal["cyclegan", "two-stage", "unet", "vox2vox"]
# The folder, in that of a two-stage run, of the CycleGAN that it trains first.
STAGE_ONE = "cyclegan"
SEEDS = 2**32  # So many, from 0 on.


@dataclass(frozen=True)
class Config:
    """Everything a run needs to be repeated, but for its inputs.

    ``method`` says what is trained: a CycleGAN, without a label; a U-Net on synthetic masks and what a CycleGAN made
    of them (``"two-stage"``), without one either; a U-Net or Vox2Vox on stacks with their truth.
    """

    preset: str = "paper"
    method: Method = "cyclegan"
    seed: int = 0
    classes: tuple[str, ...] | None = None
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    monitors: MonitorsConfig = field(default_factory=MonitorsConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(0 <= self.seed < SEEDS, "seed", self.seed, f"give 0 to {SEEDS - 1}")
        require(
            not self.synthesis.centres or self.method == "cyclegan",
            "synthesis.centres",
            self.synthesis.centres,
            f"leave it out: {self.method} learns masks alone",
        )

    @property
    def n_mask_channels(self) -> int:
        """How many channels masks have in the training: the classes', then, where wanted, those of their centres."""
        return len(self.classes or ()) * (2 if self.synthesis.centres else 1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers."""
        document: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return document

    def save(self, path: str | Path) -> None:
        """Write JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n")

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """Return a copy with dotted keys changed, for example ``{"training.epochs": 3}``.

        Raises
        ------
        UnknownKeyError, ConfigError
        """
        document = self.to_dict()
        for key, value in changes.items():
            *sections, last = key.split(".")
            place = document
            for section in sections:
                if not isinstance(place.get(section), dict):
                    raise errors.UnknownKeyError(key, _dotted(self.to_dict()))
                place = place[section]
            if last not in place or (not sections and isinstance(place[last], dict)):
                raise errors.UnknownKeyError(key, _dotted(self.to_dict()))
            place[last] = copy.deepcopy(value)
        return from_dict(document)


def from_dict(document: Mapping[str, Any]) -> Config:
    """Build a configuration from what ``Config.to_dict`` gives; keys left out take their defaults.

    Raises
    ------
    UnknownKeyError, ConfigError
    """
    built: Config = build(Config, document)
    return built


def load(path: str | Path) -> Config:
    """Read a JSON or YAML file.

    Raises
    ------
    FileMissingError, ConfigError, UnknownKeyError
    """
    path = Path(path)
    if not path.is_file():
        raise errors.FileMissingError(path, "configuration file")
    try:
        document = _parsed(path.read_text())
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise errors.ConfigError(
            str(path), str(error), "give a YAML or JSON file as an earlier run wrote it"
        ) from error
    if not isinstance(document, dict):
        raise errors.ConfigError(str(path), document, "give a YAML or JSON file as an earlier run wrote it")
    try:
        return from_dict(document)
    except (errors.ConfigError, errors.UnknownKeyError) as error:
        raise error.of_file(path) from None


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["training.epochs=3", "losses.class_weights=[3.5, 1]"]`` into a mapping; values are YAML.

    Raises
    ------
    OptionError
        For a text without ``=``, or whose value is not YAML.
    """
    parsed = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise errors.OptionError("--set", text, "write section.key=value, for example training.epochs=3")
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise errors.OptionError("--set", text, "the value must be a number, a word, or a [list]") from error
    return parsed


def _parsed(text: str) -> Any:
    """Read JSON as JSON, since YAML takes its 1e-05 for a word and refuses its tabs; anything else as YAML."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return yaml.safe_load(text)


def _dotted(document: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in document.items():
        nested = isinstance(value, dict) and (not prefix or prefix == "monitors.")
        keys += _dotted(value, f"{prefix}{key}.") if nested else [f"{prefix}{key}"]
    return keys
