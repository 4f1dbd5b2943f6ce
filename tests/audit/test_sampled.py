"""Statistics of replicates against naive loops, complete enumeration and closed forms.

Stochastic tests have fixed seeds and state the rate at which another seed would fail them, and the
smallest error that they would catch.
"""

import itertools

import numpy as np
import pytest

from metarl.audit import sampled
from metarl.audit.sampled import allotted, measures, product_of_means, summarize
from metarl.results import columns
from metarl.results.statistics import percentile_interval, resampled_counts

ONCE = np.ones((1, 3))
MEASURES = [column.name for column in columns.MEASURES]


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("taken", [(0, 1, 2, 3), (0, 0, 2, 3), (1, 1, 1, 3), (3, 2, 2, 2)])
def test_measures_against_loops(draw, taken):
    """Of a draw of replicates, each measure from its definition."""
    estimates, reference = draw.normal(1.0, 0.3, size=(2, 2, 4, 3))
    counts = np.bincount(taken, minlength=4)[None].astype(float)
    draws = measures(estimates, reference, counts)
    rows = [estimates[:, r] for r in range(4)]
    others = [reference[:, r] for r in range(4)]
    first, second = ([rows[r][half] for r in range(4)] for half in (0, 1))
    center, reference_center = ([x.mean(axis=0) for x in given] for given in (rows, others))
    difference = [x - y for x, y in zip(center, reference_center, strict=True)]

    def chosen(vectors: list[np.ndarray]) -> list[np.ndarray]:
        return [vectors[r] for r in taken]

    def product(a: list[np.ndarray], b: list[np.ndarray]) -> float:
        pairs = [(r, s) for r, s in itertools.product(taken, repeat=2) if r != s]
        return sum(float(np.sum(a[r] * b[s])) for r, s in pairs) / len(pairs)

    inner = np.mean([np.sum(first[r] * second[r]) for r in taken]) - product(first, second)
    outer = np.mean([np.sum((first[r] - second[r]) ** 2) / 2 for r in taken])
    norm, reference_norm = product(center, center), product(reference_center, reference_center)
    assert {name: float(x[0]) for name, x in draws.items()} == pytest.approx(
        {
            "squared_bias": product(difference, difference),
            "relative_bias": max(product(difference, difference), 0.0) ** 0.5 / reference_norm**0.5,
            "variance": inner + outer,
            "inner_variance": inner,
            "outer_variance": outer,
            "practical_variance": np.nan,
            "relative_standard_deviation": (max(inner + outer, 0.0) / norm) ** 0.5,
            "cosine": product(center, reference_center) / (norm * reference_norm) ** 0.5,
        },
        rel=1e-12,
        abs=1e-14,
        nan_ok=True,
    )


def test_inner_variance_is_the_sample_covariance_of_the_halves(draw):
    estimates = draw.normal(size=(2, 6, 4))
    expected = sum(np.cov(estimates[0, :, p], estimates[1, :, p])[0, 1] for p in range(4))
    inner_variance = measures(estimates, estimates, np.ones((1, 6)))["inner_variance"][0]
    assert inner_variance == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [3, 20])
def test_products_of_means_in_either_order(draw, size):
    """Fewer and more coordinates than the 8 replicates, against a loop over pairs."""
    first, second = draw.normal(size=(2, 8, size))
    counts = resampled_counts(draw, 8, 5)
    for value, count in zip(product_of_means(first, second, counts), counts, strict=True):
        taken = np.repeat(np.arange(8), count.astype(int))
        pairs = [(r, s) for r, s in itertools.product(taken, repeat=2) if r != s]
        expected = np.mean([first[r] @ second[s] for r, s in pairs])
        assert value == pytest.approx(expected, rel=1e-11)


def test_without_outer_noise_the_variance_is_the_sample_variance(draw):
    """Both halves the same; practical_variance likewise, of replicates of its own."""
    exact = {name: 2.0 + draw.normal(size=(6, 3)) for name in ("leave_one_out", "lsf")}
    practical = {name: draw.normal(size=(20, 3)) for name in exact}
    pairs = {name: np.stack([x, x]) for name, x in exact.items()}
    row = summarize(pairs, draw, 0.95, practical)["lsf"]
    expected = exact["lsf"].var(axis=0, ddof=1).sum()
    assert row["variance"] == pytest.approx(expected) == row["inner_variance"]
    assert row["outer_variance"] == row["outer_variance_high"] == 0.0
    expected = practical["lsf"].var(axis=0, ddof=1).sum()
    assert row["practical_variance"] == pytest.approx(expected)
    assert row["practical_variance_low"] < expected < row["practical_variance_high"]


def test_no_bias_over_all_equally_likely_data():
    """g(X, Y) = X + Y (1 + X), X and Y fair on {0, 2} and {-1, 1}; the reference is 3: exact.

    E g = 1, E[g | X] = X has variance 1, Var[g | X] = (1 + X)^2 is 1 or 9.
    """
    outcomes = [
        (x + y * (1 + x), x + z * (1 + x))
        for x, y, z in itertools.product((0.0, 2.0), (-1.0, 1.0), (-1.0, 1.0))
    ]
    reference = np.full((2, 3, 1), 3.0)
    totals = []
    for replicates in itertools.product(outcomes, repeat=3):
        measured = measures(np.array(replicates).T[..., None], reference, ONCE)
        totals.append([measured[name][0] for name in MEASURES if "relative" not in name][:4])
    np.testing.assert_allclose(np.mean(totals, axis=0), [4.0, 6.0, 1.0, 5.0])


def test_a_draw_has_the_estimate_as_its_center(draw):
    """Over all 4^4 draws of 4 replicates: exact.

    Pairs of copies would shift it by the mean squared norm over R.
    """
    vectors = [draw.normal(size=(4, 2))] * 2
    counts = np.array([np.bincount(t, minlength=4) for t in itertools.product(range(4), repeat=4)])
    pairs = 16 - np.sum(counts**2, axis=1)
    possible = counts[pairs > 0].astype(float)
    totals = product_of_means(*vectors, possible) * pairs[pairs > 0]
    expected = product_of_means(*vectors, np.ones((1, 4)))[0]
    assert totals.sum() / pairs.sum() == pytest.approx(expected, rel=1e-12)


def gaussian(draw: np.random.Generator, mean: float, inner: float, outer: float) -> np.ndarray:
    """g_hat [2, 64, 10] with that mean and those standard deviations in each of 10 coordinates."""
    return mean + inner * draw.normal(size=(1, 64, 10)) + outer * draw.normal(size=(2, 64, 10))


def test_gaussian_vectors(draw):
    """Estimates within 5 standard errors of closed forms: false-fail rate below 1e-5 over seeds.

    It would catch an error of 5 % in a variance and of 3e-3 in the squared bias of 0.1.
    """
    measured = [
        measures(gaussian(draw, 1.1, 0.0, 0.1) + shared - 1.0, shared, np.ones((1, 64)))
        for shared in (gaussian(draw, 1.0, 0.5, 0.3) for _ in range(200))
    ]
    for name, expected in (
        ("squared_bias", 10 * 0.1**2),
        ("inner_variance", 10 * 0.25),
        ("outer_variance", 10 * (0.09 + 0.01)),
        ("variance", 10 * 0.35),
    ):
        values = np.array([x[name][0] for x in measured])
        error = values.std() / 200**0.5
        assert values.mean() == pytest.approx(expected, abs=5 * error)
        assert 5 * error < (0.05 * expected if "variance" in name else 3e-3)


@pytest.mark.parametrize(
    ("mean", "truth"),
    [
        (0.0, {"squared_bias": 0.0}),
        (0.3, {"squared_bias": 0.9, "variance": 3.4, "inner_variance": 2.5, "outer_variance": 0.9}),
    ],
)
def test_intervals_cover(draw, mean, truth):
    """95 % intervals over 300 data sets of 64 replicates; at a squared mean of 0 they cover more.

    The bounds are 3.5 standard deviations around 0.94, what percentile intervals reach here:
    false-fail rate below 1e-3 each. They would catch intervals that are a quarter too short.
    """
    hits, reference = dict.fromkeys(truth, 0), np.zeros((2, 64, 10))
    for _ in range(300):
        counts = resampled_counts(draw, 64, 400)
        measured = measures(gaussian(draw, mean, 0.5, 0.3), reference, counts)
        for name, expected in truth.items():
            low, high = percentile_interval(measured[name][1:], 0.95)
            hits[name] += low <= expected <= high
    for covered in hits.values():
        assert 0.89 < covered / 300 < (0.985 if mean else 1.01)


def test_summary(draw):
    reference = 2.0 + draw.normal(size=(2, 8, 3))
    given = {"leave_one_out": reference, "lsf": 2 * reference, "far": reference + 1.0}
    summary = summarize(given, np.random.default_rng(1), 0.95)
    assert set(summary["far"]) < set(columns.SAMPLED.names)
    for name in ("squared_bias", "relative_bias", "cosine"):
        assert np.isnan(summary["leave_one_out"][name])
    far = summary["far"]
    assert far["squared_bias"] == pytest.approx(3.0)
    assert far["relative_bias"] == pytest.approx(3**0.5 / far["gradient_norm"])
    assert far["variance"] == pytest.approx(summary["leave_one_out"]["variance"])
    assert summary["lsf"]["cosine"] == pytest.approx(1.0)
    assert summary["lsf"]["difference_to_lsf"] == 0.0
    assert summary["leave_one_out"]["difference_to_lsf"] == pytest.approx(0.5)
    assert np.isnan(far["practical_variance"])
    for name in set(MEASURES) - {"practical_variance"}:
        assert far[f"{name}_low"] <= far[name] + 1e-12
        assert far[name] <= far[f"{name}_high"] + 1e-12
    again = summarize(given, np.random.default_rng(1), 0.95)
    assert repr(again) == repr(summary)


def test_the_confidence_is_that_of_the_intervals_and_stands_in_the_rows(draw):
    """A narrower interval lies inside; nothing else changes."""
    gradients = {name: 2.0 + draw.normal(size=(2, 8, 3)) for name in ("leave_one_out", "lsf")}
    keys = {"level": "level", "problem": "place", "sample_size": 4}
    keys |= {"replicates": 8, "outer_sample_size": 40}
    wide, narrow = (
        sampled.rows(keys, ["lsf"], gradients, np.random.default_rng(0), confidence)[0]
        for confidence in (0.95, 0.5)
    )
    assert (wide.pop("confidence"), narrow.pop("confidence")) == (0.95, 0.5)
    for name in wide:
        if name.startswith("practical"):
            assert np.isnan([wide[name], narrow[name]]).all()
        elif name.endswith("_low"):
            assert wide[name] <= narrow[name]  # both may be 0, for a root
        elif name.endswith("_high"):
            assert wide[name] >= narrow[name]
        else:
            assert wide[name] == narrow[name]
    assert wide["variance_low"] < narrow["variance_low"]
    assert wide["variance_high"] > narrow["variance_high"]


def test_a_mean_of_unknown_sign_gives_no_ratio(draw):
    """Around a reference whose squared norm comes out negative nothing is relative to it."""
    reference = np.array([[[1.0], [-1.0], [0.1]]] * 2)
    measured = measures(reference + 1.0, reference, ONCE)
    assert product_of_means(reference[0], reference[0], ONCE)[0] < 0
    assert np.isnan(measured["relative_bias"][0]) and np.isnan(measured["cosine"][0])
    assert measured["squared_bias"][0] == pytest.approx(1.0)


def test_a_row_has_the_columns_of_its_table(draw):
    gradients = {name: 2.0 + draw.normal(size=(2, 8, 3)) for name in ("leave_one_out", "lsf")}
    keys = {"level": "level", "problem": "place", "sample_size": 4}
    keys |= {"replicates": 8, "outer_sample_size": 40}
    (row,) = sampled.rows(keys, ["lsf"], gradients, np.random.default_rng(0), 0.95)
    assert set(row) == set(columns.SAMPLED.names) and row["confidence"] == 0.95


def test_few_replicates_have_intervals(draw):
    """Of three, a ninth of the draws takes one replicate alone, which has no pair."""
    counts = sampled.replicate_counts(np.random.default_rng(0), 3)
    assert 0.8 < len(counts) / sampled.RESAMPLES < 0.95
    assert (counts[0] == 1).all() and (np.count_nonzero(counts, axis=1) > 1).all()
    gradients = {name: 5.0 + draw.normal(size=(2, 3, 4)) for name in ("leave_one_out", "lsf")}
    row = summarize(gradients, np.random.default_rng(1), 0.95)["lsf"]
    for name in ("variance", "squared_bias", "relative_standard_deviation"):
        assert row[f"{name}_low"] <= row[f"{name}_high"]


def test_less_confidence_gives_shorter_intervals(draw):
    gradients = {name: 2.0 + draw.normal(size=(2, 8, 3)) for name in ("leave_one_out", "lsf")}
    wide, narrow = (
        summarize(gradients, np.random.default_rng(1), confidence)["lsf"]
        for confidence in (0.95, 0.5)
    )
    for name in ("variance", "squared_bias"):
        assert narrow[name] == wide[name]
        assert wide[f"{name}_low"] < narrow[f"{name}_low"] < narrow[f"{name}_high"]
        assert narrow[f"{name}_high"] < wide[f"{name}_high"]


def test_without_a_reference_variances_are_the_same(draw):
    gradients = dict(
        zip(("lsf", "leave_one_out"), draw.normal(1.0, 0.1, (2, 2, 5, 3)), strict=True)
    )
    whole = summarize(gradients, np.random.default_rng(1), 0.95)["lsf"]
    alone = summarize({"lsf": gradients["lsf"]}, np.random.default_rng(1), 0.95)["lsf"]
    against = {name for name in alone if np.isnan(alone[name])} - {
        name for name in whole if np.isnan(whole[name])
    }
    ends = ("", "_low", "_high")
    measured = ("squared_bias", "relative_bias", "cosine")
    assert against == {"gradient_norm", *(f"{m}{end}" for m in measured for end in ends)}
    for name in alone.keys() - against:
        np.testing.assert_equal(alone[name], whole[name])


def pilot_row(inner=(1.0, 0.804, 1.196), bias=(np.nan,) * 3) -> dict[str, float]:
    """Standard errors of 0.1, at 0.95: an interval is 3.92 of them."""
    ends = ("", "_low", "_high")
    row = {f"inner_variance{end}": x for end, x in zip(ends, inner, strict=True)}
    return row | {f"squared_bias{end}": x for end, x in zip(ends, bias, strict=True)}


@pytest.mark.parametrize(
    ("pilot", "expected"),
    [
        ({"lsf": pilot_row()}, 40),  # 0.1 of it to 0.05: four times the 10 of the pilot
        ({"lsf": pilot_row((1.0, 0.98, 1.02))}, 10),  # no fewer than those
        ({"lsf": pilot_row(), "dice": pilot_row((0.5, 0.304, 0.696))}, 160),  # the worst counts
        ({"lsf": pilot_row(), "maml": pilot_row(bias=(0.25, 0.054, 0.446))}, 640),
        ({"lsf": pilot_row(bias=(0.01, -0.5, 0.5))}, 40),  # whose bias is not to be seen
        ({"lsf": pilot_row(), "leave_one_out": pilot_row((0.1, -1.0, 1.0))}, 40),
        ({"lsf": pilot_row(), "metarl.audit.controls:doubled": pilot_row((0.1, -1.0, 1.0))}, 40),
        ({"lsf": pilot_row((0.05, -0.146, 0.246))}, 1000),  # the budget
        ({"lsf": pilot_row((-0.1, -0.296, 0.096))}, 1000),  # nothing to be seen
    ],
)
def test_replicates_that_a_pilot_allots(pilot, expected):
    number = allotted(pilot, 10, 1000, precision=0.05, confidence=0.95)
    assert number == pytest.approx(expected, abs=1.0)  # of which it is the next integer
