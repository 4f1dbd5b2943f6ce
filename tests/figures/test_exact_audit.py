import numpy as np
import pandas as pd
import pytest

from metarl.figures import exact_audit
from metarl.results import columns


def panels(figure):
    return {axis.get_title(): axis for axis in figure.axes}


def lines(axis):
    return {line.get_label(): line for line in axis.get_lines()}


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.fixture
def limit_frame(complete):
    """lsf of the bandit: bias 0.1 / N, gradient norm 2, variance 4 / N; unbiased: variance 30 N."""
    rows = [("lsf", -1, 0.1, -1, 4.0), ("unbiased", 0, 0.0, 1, 30.0)]
    names = ["estimator", "bias_order", "bias_coefficient", "variance_order"]
    frame = pd.DataFrame(rows, columns=[*names, "variance_coefficient"])
    return complete(columns.LIMIT, frame.assign(problem="bandit", gradient_norm=2.0))


def test_one_legend_names_the_estimators_and_what_lines_are(audit_frame, limit_frame, write):
    names = ["unbiased", "leave_one_out", "lsf", "maml"]
    figure = exact_audit.draw(write(audit_frame))
    assert legend_texts(figure) == [*names, "rates of the paper"]
    figure = exact_audit.draw(write(audit_frame, limit_frame))
    assert legend_texts(figure) == [*names, "leading terms", "rates of the paper"]


def test_leading_terms_are_lines_through_the_enumerated_marks(audit_frame, limit_frame, write):
    axes = panels(exact_audit.draw(write(audit_frame, limit_frame)))
    bias, variance = (lines(axes[f"bandit: {name}"]) for name in ("relative bias", "variance"))
    for drawn, name in ((bias, "lsf"), (variance, "lsf"), (variance, "unbiased")):
        term = drawn[f"{name}, leading term"]
        np.testing.assert_allclose(term.get_ydata(), drawn[name].get_ydata())
    assert np.isnan(bias["unbiased, leading term"].get_ydata()).all()
    assert "lsf, leading term" not in lines(axes["chain: variance"])


def test_guides_have_the_rates_of_the_paper(audit_frame, write):
    drawn = lines(panels(exact_audit.draw(write(audit_frame)))["chain: variance"])
    for exponent in (1, -1):
        guide = drawn[f"paper: {exact_audit.signed(exponent)}"]
        x, y = guide.get_xdata(), guide.get_ydata()
        np.testing.assert_allclose(y / y[0], (x / x[0]) ** exponent)


def test_rounding_error_is_not_drawn(audit_frame, write):
    drawn = lines(panels(exact_audit.draw(write(audit_frame)))["chain: relative bias"])
    for name in ("unbiased", "leave_one_out"):
        assert np.isnan(drawn[name].get_ydata()).all()
    np.testing.assert_allclose(drawn["lsf"].get_ydata() * drawn["lsf"].get_xdata(), 0.05)


def test_ones_own_estimator_is_called_by_its_function(audit_frame, write):
    audit_frame["estimator"] = audit_frame["estimator"].replace("maml", "package.module:function")
    assert "function" in legend_texts(exact_audit.draw(write(audit_frame)))
