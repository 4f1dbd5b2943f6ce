"""Final returns against N."""

import numpy as np
import pandas as pd

from metarl.figures import sample_sizes, style


def test_means_of_the_last_fifth(training_frame, study_frame, write):
    named = {"first": "unbiased", "second": "lsf"}
    frames = [
        frame[frame["algorithm"].str.partition("_")[0].isin(named)]
        for frame in (training_frame, study_frame)
    ]
    figure = sample_sizes.draw(write(pd.concat(frames)))
    axis = figure.axes[0]
    (line,) = [
        each for each in axis.get_lines() if each.get_color() == style.ESTIMATORS["lsf"].colour
    ]
    np.testing.assert_allclose(line.get_xdata(), [5, 20, 80])
    np.testing.assert_allclose(line.get_ydata(), [31.0, 41.0, 51.0])
