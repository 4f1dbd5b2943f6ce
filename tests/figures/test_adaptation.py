import numpy as np
import pytest

from metarl.figures import adaptation


def draw_panels(paths):
    figure = adaptation.draw(paths, 0.95)
    return figure, {axis.get_title(): axis for axis in figure.axes}


def test_points_are_returns_averaged_over_tasks_and_seeds(evaluation_frame, write):
    _, axes = draw_panels(write(evaluation_frame))
    assert list(axes) == ["HalfCheetahDir", "PointGoal"]
    lines = axes["PointGoal"].get_lines()
    assert len(lines) == 3
    for line in lines:
        np.testing.assert_allclose(line.get_ydata(), [1, 11, 21, 31])
        np.testing.assert_allclose(np.round(line.get_xdata()), [0, 1, 2, 3])
    assert len({line.get_xdata()[0] for line in lines}) == 3


def test_bars_are_the_intervals_over_seeds(evaluation_frame, write):
    _, axes = draw_panels(write(evaluation_frame))
    (_, low), (_, high) = axes["PointGoal"].collections[0].get_segments()[0]
    assert (low, high) == pytest.approx((0, 2))


def test_two_seeds_have_no_bars(evaluation_frame, write):
    _, axes = draw_panels(write(evaluation_frame[evaluation_frame["seed"] < 2]))
    bars = axes["PointGoal"].collections[0].get_segments()
    assert not any(np.isfinite(bar).all() for bar in bars if len(bar))


def test_one_task_without_a_return_breaks_the_line(evaluation_frame, write):
    keys = evaluation_frame[["environment", "algorithm", "seed", "task", "inner_step"]]
    row = keys.eq(["PointGoal", "first", 2, 1, 3]).all(axis=1)
    assert row.sum() == 1
    evaluation_frame.loc[row, "mean_return"] = np.nan
    figure, axes = draw_panels(write(evaluation_frame))
    returns = {tuple(np.isfinite(line.get_ydata())) for line in axes["PointGoal"].get_lines()}
    assert (True, True, True, False) in returns
    assert figure.legends[0].get_texts()[-1].get_text() == "a seed diverged"
