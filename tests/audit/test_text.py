"""The table that an audit prints."""

import math

import pandas as pd

from metarl.audit.text import LEGEND, SAMPLED_LEGEND, aligned, limits, text

KEYS = {"problem": "chain", "estimator": "lsf"}


def test_rows_and_slopes():
    """Literal: a bias of 1/N and a variance of 1/N^2."""
    rows = [
        KEYS | {"sample_size": n, "bias": 1 / n, "relative_bias": 2 / n, "variance": n**-2.0}
        for n in (8, 4)
    ]
    assert text(pd.DataFrame(rows)).splitlines() == [
        "lsf on chain",
        "  N  bias   relative bias  variance",
        "  4  0.25   0.5            0.0625",
        "  8  0.125  0.25           0.01562",
        "  slopes over N = 4 to 8: bias N^-1.00, variance N^-2.00",
        LEGEND,
    ]


def test_an_unbiased_estimator_has_no_slope_of_rounding():
    rows = [
        KEYS | {"sample_size": n, "bias": 1e-15 * n, "relative_bias": 1e-15, "variance": float(n)}
        for n in (4, 8)
    ]
    *_, last, _ = text(pd.DataFrame(rows)).splitlines()
    assert last == "  slopes over N = 4 to 8: bias none: unbiased, variance N^+1.00"


def test_a_single_sample_size_has_no_slope():
    row = KEYS | {"sample_size": 4, "bias": 1.0, "relative_bias": 1.0, "variance": 1.0}
    *_, last, _ = text(pd.DataFrame([row])).splitlines()
    assert last == "  slopes: give at least two sample sizes"


def test_intervals_stand_beside_their_estimates():
    row = {"replicates": 9, "variance": 0.5, "variance_low": 0.25, "variance_high": 1.0}
    assert aligned(pd.DataFrame([row])) == [
        "replicates  variance",
        "9           0.5 [0.25, 1]",
    ]


def test_estimators_keep_the_order_of_the_table():
    rows = [
        {"problem": "chain", "estimator": name, "sample_size": 4}
        | dict.fromkeys(("bias", "relative_bias", "variance"), 1.0)
        for name in ("unbiased", "lsf")
    ]
    heads = [line for line in text(pd.DataFrame(rows)).splitlines() if " on chain" in line]
    assert heads == ["unbiased on chain", "lsf on chain"]


def test_leading_terms_in_a_line_each():
    table = pd.DataFrame(
        {
            "problem": ["bandit"] * 3,
            "estimator": ["lsf2", "maml", "unbiased"],
            "bias_order": [-2, 0, 0],
            "bias_coefficient": [0.00382, 0.0582, 0.0],
            "variance_order": [-1, -1, 1],
            "variance_coefficient": [0.002, 0.0117, 0.143],
        }
    )
    assert limits(table).splitlines() == [
        "lsf2 on bandit: bias 0.00382 / N^2, variance 0.002 / N",
        "maml on bandit: bias 0.0582, variance 0.0117 / N",
        "unbiased on bandit: bias none, variance 0.143 N",
    ]


def test_sampled_audits_have_intervals_and_the_slope_of_the_inner_variance():
    """A bias that was not measured, and an interval without ends, are none."""
    row = {"relative_bias": math.nan, "inner_variance": 4.0, "variance": 5.0, "cosine": 0.5}
    ends = {"inner_variance_low": 3.0, "inner_variance_high": 6.0, "cosine_low": math.nan}
    rows = [
        KEYS | row | ends | {"sample_size": n, "inner_variance": 8.0 / n, "replicates": 9}
        for n in (2, 4)
    ]
    assert text(pd.DataFrame(rows)).splitlines() == [
        "lsf on chain",
        "  N  replicates  relative bias  inner variance  variance  cosine",
        "  2  9           -              4 [3, 6]        5         0.5",
        "  4  9           -              2 [3, 6]        5         0.5",
        "  slopes over N = 2 to 4: bias not measured, variance N^-1.00",
        SAMPLED_LEGEND,
    ]
    rows[0]["inner_variance"] = -1.0
    *_, last, _ = text(pd.DataFrame(rows)).splitlines()
    assert last.endswith("variance not positive everywhere")
