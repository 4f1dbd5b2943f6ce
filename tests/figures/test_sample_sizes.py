"""Final returns against N."""

import numpy as np
import pandas as pd

from metarl.figures import sample_sizes, style


def test_means_of_the_last_fifth(training_frame, study_frame, write):
    frame = pd.concat([training_frame, study_frame])
    figure = sample_sizes.draw(write(frame[frame["algorithm"] != "third"]), 0.95)
    axis = figure.axes[0]
    (line,) = [
        line for line in axis.get_lines() if line.get_color() == style.ESTIMATORS["lsf"].colour
    ]
    np.testing.assert_allclose(line.get_xdata(), [5, 20, 80])
    np.testing.assert_allclose(line.get_ydata(), [31.0, 41.0, 51.0])
