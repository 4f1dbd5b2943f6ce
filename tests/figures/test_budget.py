"""The budget figure: bias and variance at a fixed number of trajectories."""

import numpy as np

from metarl.figures import budget, style


def test_error_of_the_mean_over_tasks(audit_frame, write):
    figure = budget.draw(write(audit_frame))
    first = figure.axes[0]
    (line,) = [
        line for line in first.get_lines() if line.get_color() == style.ESTIMATORS["maml"].colour
    ]
    sizes = np.array([4, 8, 16, 32, 64])
    np.testing.assert_allclose(line.get_xdata(), sizes)
    expected = np.sqrt(0.3**2 + 3.0 / sizes / 2.0**2 / (128 / sizes))
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert len(first.get_lines()) == 4  # no published deviation
