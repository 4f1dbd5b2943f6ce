"""The figure of sampled audits."""

import numpy as np
import pandas as pd

from metarl.figures import sampled_audit, style


def test_lines_intervals_and_the_mask(sampled_frame, write):
    lsf = sampled_frame[sampled_frame["estimator"] == "lsf"]
    control = lsf.assign(estimator="metarl.audit.controls:doubled", inner_variance=1e6)
    other = sampled_frame[sampled_frame["level"] == "monte_carlo"].assign(problem="random_mdp_2")
    not_simulated = lsf[lsf["level"] == "monte_carlo"].assign(estimator="tmaml", inner_variance=2e6)
    frames = [sampled_frame, control, other, not_simulated]
    figure = sampled_audit.draw(write(pd.concat(frames)), 0.95)
    assert [axis.get_title(loc="left") for axis in figure.axes[::2]] == [
        "random mdp 1",
        "A, initial",
        "A, trained",
    ]
    variance = figure.axes[1]
    colour = style.ESTIMATORS["lsf"].colour
    (line,) = [line for line in variance.get_lines() if line.get_color() == colour]
    np.testing.assert_allclose(line.get_ydata(), 4.0 / np.array([4, 8, 16]))
    assert not any({1e6, 2e6} & {*line.get_ydata()} for line in variance.get_lines())
    bars = [
        segment[:, 1]
        for collection in variance.collections
        for segment in collection.get_segments()
    ]
    assert any(np.allclose(sorted(bar), [0.5, 2.0]) for bar in bars)  # lsf at N = 4
    assert [text.get_text() for text in figure.axes[4].texts] == ["no bias\ncan be told from 0"]
    assert not figure.axes[2].texts
