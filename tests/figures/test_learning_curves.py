import numpy as np
import pytest

from metarl.figures import learning_curves


def draw_panels(paths):
    figure = learning_curves.draw(paths, 0.95)
    return figure, {axis.get_title(): axis for axis in figure.axes}


def test_line_is_the_post_adaptation_return_averaged_over_seeds(training_frame, write):
    figure, axes = draw_panels(write(training_frame))
    assert list(axes) == ["HalfCheetahDir", "PointGoal"]
    line = axes["PointGoal"].get_lines()[0]
    np.testing.assert_allclose(line.get_xdata(), [1000, 2000, 3000, 4000, 5000])
    np.testing.assert_allclose(line.get_ydata(), [1, 11, 21, 31, 41])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["first", "second", "third"]


def test_band_is_the_interval_over_seeds(training_frame, write):
    _, axes = draw_panels(write(training_frame))
    heights = axes["PointGoal"].collections[0].get_datalim(axes["PointGoal"].transData).intervaly
    assert heights == pytest.approx([0, 42])


def test_two_seeds_have_a_line_and_no_band(training_frame, write):
    _, axes = draw_panels(write(training_frame[training_frame["seed"] < 2]))
    np.testing.assert_allclose(axes["PointGoal"].get_lines()[0].get_ydata()[0], 0.5)
    band = axes["PointGoal"].collections[0]
    assert all(not np.isfinite(path.vertices).any() for path in band.get_paths())


def test_line_ends_with_a_cross_where_a_seed_diverges(training_frame, write):
    run = training_frame[["environment", "algorithm", "seed"]].eq(["PointGoal", "first", 1])
    late = training_frame["iteration"] >= 3
    training_frame.loc[run.all(axis=1) & late, "mean_return"] = np.nan
    figure, axes = draw_panels(write(training_frame))
    line, cross = axes["PointGoal"].get_lines()[:2]
    np.testing.assert_array_equal(np.isfinite(line.get_ydata()), [True, True, True, False, False])
    assert (cross.get_marker(), cross.get_xdata()[0], cross.get_ydata()[0]) == ("x", 4000, 21)
    assert figure.legends[0].get_texts()[-1].get_text() == "a seed diverged"
    assert all(line.get_marker() != "x" for line in axes["HalfCheetahDir"].get_lines())


def test_run_that_diverges_at_once_leaves_a_cross(training_frame, write):
    first = training_frame["algorithm"] == "first"
    training_frame.loc[first, "mean_return"] = np.nan
    _, axes = draw_panels(write(training_frame))
    assert axes["PointGoal"].get_lines()[1].get_marker() == "x"
