"""The convergence figure shows the means and first iterations of its table."""

import numpy as np
import pytest

from metarl.figures import convergence, style


def test_curves_and_iterations(convergence_frame, write):
    figure = convergence.draw(write(convergence_frame), 0.95)
    small, large, needed = figure.axes
    colour = style.ESTIMATORS["unbiased"].colour
    (curve,) = [line for line in small.get_lines() if line.get_color() == colour]
    k = np.array([1, 2, 4, 8, 16])
    expected = (np.exp(-k / 8) + np.exp(-k / 16)) / 2
    np.testing.assert_allclose(curve.get_xdata(), k)
    np.testing.assert_allclose(curve.get_ydata(), expected)
    assert "N = 4" in large.get_title()
    lines = [line for line in needed.get_lines() if line.get_linestyle() == "-"]
    unbiased, lsf = lines
    assert np.isnan(unbiased.get_ydata()).all()  # never within 16 iterations
    np.testing.assert_allclose(lsf.get_ydata(), [4, 8])


def test_an_estimator_that_never_gets_there_has_an_open_marker(convergence_frame, write):
    needed = convergence.draw(write(convergence_frame), 0.95).axes[-1]
    hollow = [line for line in needed.get_lines() if line.get_fillstyle() == "none"]
    heights = np.concatenate([line.get_ydata() for line in hollow])
    assert heights == pytest.approx([32.0, 32.0])
