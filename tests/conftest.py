"""Fixtures that several modules of tests use, and the group that each test belongs to."""

from pathlib import Path

import pytest

import tfcyclegan3d  # noqa: F401  (before TensorFlow, whose kernels it chooses)
from tests.toy import toy  # noqa: F401

# What pyproject.toml says of the groups. A test that hypothesis draws examples for is "property" wherever it stands.
GROUPS = {
    "unit": """
        blocks composites config data_layout figures flips folds info instances kernels losses masks measurements
        measuring microscope missing_chunks noise notebook_figures overlap pairing patches pictures pipeline
        precision_and_colours precision_of_training preprocessing priors progress sources spreading stitching tables
        tiling training watching
    """,
    "conformance": """
        baselines documented_commands documented_names errors_page export frozen groups models other_readers presets
        quick volumes zarrs
    """,
    "e2e": """
        command_line consequences crossval disk distribution evaluate_command killed_runs measure_command
        methods_command notebooks runs supervised synthesize_command tile_invariance two_stage whole_stacks
    """,
}
GROUP_OF_FILE = {f"test_{name}.py": group for group, names in GROUPS.items() for name in names.split()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its group."""
    for item in items:
        by_hypothesis = getattr(getattr(item, "function", None), "is_hypothesis_test", False)
        group = "property" if by_hypothesis else GROUP_OF_FILE.get(Path(item.path).name)
        if group is not None:
            item.add_marker(group)
