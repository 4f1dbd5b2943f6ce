import numpy as np

from metarl.figures import exact_audit


def panels(figure):
    return {axis.get_title(): axis for axis in figure.axes}


def legend_texts(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_legends_hold_the_fitted_slopes_and_the_papers(audit_frame, write):
    axes = panels(exact_audit.draw(write(audit_frame)))
    minus = "\N{MINUS SIGN}"
    assert legend_texts(axes["chain: relative bias"]) == [
        "unbiased: exactly 0",
        "leave_one_out: exactly 0",
        f"lsf: {minus}1.00",
        "maml: +0.00",
        f"paper: {minus}0.50",
    ]
    assert legend_texts(axes["bandit: variance"]) == [
        "unbiased: +1.00",
        f"leave_one_out: {minus}1.00",
        f"lsf: {minus}1.00",
        f"maml: {minus}1.00",
        "paper: +1.00",
        f"paper: {minus}1.00",
    ]
    title = axes["chain: variance"].get_legend().get_title().get_text()
    assert title == "slope, N = 8\N{EN DASH}64"


def test_rounding_error_is_not_drawn(audit_frame, write):
    axis = panels(exact_audit.draw(write(audit_frame)))["chain: relative bias"]
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert not any(label.startswith(("unbiased", "leave_one_out")) for label in lines)
    lsf = next(line for label, line in lines.items() if label.startswith("lsf"))
    np.testing.assert_allclose(lsf.get_ydata() * lsf.get_xdata(), 0.05)


def test_nan_is_neither_zero_nor_fitted(audit_frame, write):
    audit_frame.loc[audit_frame["estimator"] == "unbiased", "relative_bias"] = np.nan
    axis = panels(exact_audit.draw(write(audit_frame)))["chain: relative bias"]
    assert legend_texts(axis)[0] == "unbiased: no fit"


def test_ones_own_estimator_is_called_by_its_function(audit_frame, write):
    audit_frame["estimator"] = audit_frame["estimator"].replace("maml", "package.module:function")
    axis = panels(exact_audit.draw(write(audit_frame)))["chain: variance"]
    assert legend_texts(axis)[3] == "function: \N{MINUS SIGN}1.00"
