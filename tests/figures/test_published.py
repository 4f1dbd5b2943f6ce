"""The figures of runs with published settings."""

import numpy as np
import pandas as pd

from metarl.figures import comparison, point_paths, published_returns, torso_positions


def test_returns_stand_beside_published_ones(published_frame, write):
    figure = published_returns.draw(write(published_frame))
    assert [axis.get_title() for axis in figure.axes] == ["HalfCheetahDir", "PointGoal"]
    published, *seeds = (bars.lines[0] for bars in figure.axes[1].containers)
    np.testing.assert_allclose(published.get_ydata(), [5, 15, 25, 35])
    for seed, line in enumerate(seeds):  # the mean of two tasks, 1 above and 1 below
        np.testing.assert_allclose(line.get_ydata(), np.array([0, 10, 20, 30]) + seed)
    assert len(seeds) == 3
    (low, high), *_ = figure.axes[1].containers[1].lines[2][0].get_segments()
    np.testing.assert_allclose([low[1], high[1]], [-1, 1])


def test_policies_along_training_are_faint_lines(published_frame, write):
    earlier = published_frame.assign(mean_return=published_frame["mean_return"] - 3.0)
    both = pd.concat([earlier, published_frame.assign(iterations=10)])
    axis = published_returns.draw(write(both)).axes[1]
    assert len(axis.containers) == 1 + 3  # published and last policies of three seeds
    faint = [line for line in axis.get_lines() if line.get_alpha() == 0.3]
    assert len(faint) == 3
    np.testing.assert_allclose(faint[0].get_ydata(), np.array([0, 10, 20, 30]) - 3.0)


def test_a_comparison_shows_means_over_seeds_and_every_seed(training_frame, write):
    run = training_frame[["environment", "algorithm", "seed"]].eq(["PointGoal", "third", 1])
    late = training_frame["iteration"] >= 3
    training_frame.loc[run.all(axis=1) & late, "mean_return"] = np.nan
    figure = comparison.draw(write(training_frame))
    assert [axis.get_title() for axis in figure.axes] == ["HalfCheetahDir", "PointGoal"]
    axis = figure.axes[1]
    assert [text.get_text() for text in figure.legends[0].get_texts()][:1] == ["first"]
    seeds = [line for line in axis.get_lines() if line.get_alpha() == 0.3]
    means = [line for line in axis.get_lines() if line.get_alpha() != 0.3]
    assert len(seeds) == 3 * 3
    np.testing.assert_allclose(seeds[2].get_ydata(), [2, 12, 22, 32, 42])
    np.testing.assert_allclose(means[0].get_xdata(), [1000, 2000, 3000, 4000, 5000])
    np.testing.assert_allclose(means[0].get_ydata(), [1, 11, 21, 31, 41])
    np.testing.assert_array_equal(means[2].get_ydata()[3:], [np.nan, np.nan])
    assert (means[3].get_marker(), means[3].get_xdata()[0]) == ("x", 4000)


def test_paths_begin_at_the_origin_and_goals_are_stars(paths_frame, write):
    figure = point_paths.draw(write(paths_frame[paths_frame["environment"] == "PointGoal"]))
    after = [f"after {count}" for count in ("1 inner step", "2 inner steps", "3 inner steps")]
    assert [axis.get_title() for axis in figure.axes] == ["before adaptation", *after]
    lines = figure.axes[2].get_lines()
    paths = [line for line in lines if line.get_marker() != "*"]
    assert len(paths) == 4  # one seed's: two tasks, two trajectories
    np.testing.assert_allclose([path.get_xydata()[0] for path in paths], 0.0)
    np.testing.assert_allclose(paths[2].get_xydata()[-1], [2.0, -2.0])
    stars = [line.get_xydata()[0] for line in lines if line.get_marker() == "*"]
    np.testing.assert_allclose(stars, [[-1.0, 0.5], [1.0, 0.5]])


def test_torsos_are_a_line_a_task(paths_frame, write):
    figure = torso_positions.draw(write(paths_frame))
    panels = [axis for axis in figure.axes if axis.get_lines()]
    assert len(panels) == 2 * 4
    one = panels[6].get_lines()  # HalfCheetahDir after three inner steps, of two columns
    assert len(one) == 2
    np.testing.assert_allclose(one[1].get_ydata(), 3.0 * np.array([0.25, 0.5, 0.75, 1.0]))
    assert one[0].get_color() != one[1].get_color()
