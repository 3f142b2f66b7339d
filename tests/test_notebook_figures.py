"""The pictures that notebooks ask for."""

import subprocess
import sys

import numpy as np
import pytest

import tfcyclegan3d as tc
from tfcyclegan3d import errors
from tfcyclegan3d.colours import composite

CLASSES = ("golgi", "nuclei")


@pytest.fixture(scope="module")
def ramp():
    """A stack whose first channel holds 0 to 999 once each, its second ten times that."""
    values = np.random.default_rng(0).permutation(1000).reshape(4, 10, 25).astype(np.uint16)
    return tc.Volume(np.stack([values, 10 * values], axis=-1), (1.0, 0.5, 0.5), "ramp")


def test_a_contrast_figure_shows_each_channel_between_its_own_percentiles_of_the_whole_stack(ramp):
    figure = tc.figures.contrast(ramp, {"all": (0, 100), "paper": (95, 98)}, CLASSES, plane=2)
    figure.draw_without_rendering()
    low, high = np.percentile(np.arange(1000), (95, 98))
    first = np.clip((ramp.array[2, ..., 0] - low) / (high - low), 0, 1)
    shown = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, composite(np.stack([first, first], axis=-1), CLASSES), atol=1e-5)
    assert figure.axes[1].get_title() == "paper: plane z = 2"


def test_a_contrast_figure_says_which_share_of_the_stack_it_clips(ramp):
    figure = tc.figures.contrast(ramp, {"all": (0, 100), "paper": (95, 98)}, CLASSES)
    figure.draw_without_rendering()
    # 950 of 1000 values lie at or below the 95th percentile (949.05), 20 at or above the 98th (979.02).
    assert figure.axes[3].get_title() == "golgi: 95% at -1, 2.0% at 1\nnuclei: 95% at -1, 2.0% at 1"
    assert figure.axes[2].get_title().startswith("golgi: 0% at -1, 0.1% at 1")
    for axis in figure.axes[2:]:
        for stairs in axis.patches:
            assert stairs.get_data().values.sum() == pytest.approx(1)


def test_a_contrast_figure_has_scale_bars_where_the_voxel_size_is_known(ramp):
    figure = tc.figures.contrast(ramp, {"all": (0, 100)}, CLASSES)
    assert [text.get_text() for text in figure.axes[0].texts] == ["2 µm"]
    plain = tc.figures.contrast(tc.Volume(ramp.array), {"all": (0, 100)}, CLASSES)
    assert not plain.axes[0].texts


def test_a_contrast_figure_refuses_other_classes_and_a_plane_that_is_not_there(ramp):
    with pytest.raises(errors.ChannelError, match="2 channels, but there are 1 classes"):
        tc.figures.contrast(ramp, {"all": (0, 100)}, ("nuclei",))
    with pytest.raises(errors.OptionError, match="received 4; give 0 to 3"):
        tc.figures.contrast(ramp, {"all": (0, 100)}, CLASSES, plane=4)


def test_masks_are_drawn_in_a_column_each_and_beside_their_stack():
    prior = tc.prior_for({"nuclei": 8}, 0.1)
    drawn = tc.synthesize_masks((12, 24, 24), prior, seed=1, voxel_size_um=(1.0, 0.5, 0.5))
    figure = tc.figures.masks({"one": drawn, "two": drawn})
    assert [axis.get_title().split(":")[0] for axis in figure.axes] == ["one", "two", "one", "two"]
    inside = drawn.array[..., 0].any(axis=0)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array().max(axis=-1) > 0, inside)
    stack = tc.simulate_stack((12, 24, 24), prior, seed=2).image
    assert len(tc.figures.beside(stack, drawn).axes) == 4


def test_arrows_lead_from_each_nucleus_to_its_golgi_over_the_mean_of_the_stack():
    labels = np.zeros((8, 30, 40, 2), np.uint8)
    labels[2:6, 10:14, 24:28, 0] = 1  # Golgi, centred at x = 25.5, y = 11.5 ...
    labels[2:6, 10:14, 10:16, 1] = 1  # ... and its nucleus, at x = 12.5.
    stack = tc.Volume(labels, (1.0, 0.5, 0.5), "pair")
    found = tc.analyse(stack, max_distance=10)
    figure = tc.figures.arrows(stack, found.pairs, CLASSES)
    (arrow,) = [text for text in figure.axes[0].texts if hasattr(text, "arrow_patch")]
    assert (arrow.xyann, arrow.xy) == ((12.5, 11.5), (25.5, 11.5))
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown.max(axis=-1) > 0, labels.any(axis=(0, 3)))
    assert "µm" in figure.axes[0].texts[-1].get_text()


def test_the_choice_of_an_epoch_is_asked_of_a_run_only(tmp_path):
    with pytest.raises(errors.ModelError, match="holds no finished run"):
        tc.figures.choice_of_epoch(tmp_path)


def test_pictures_of_stacks_and_masks_need_no_tensorflow():
    code = "import sys, tfcyclegan3d as tc; tc.figures.contrast; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
