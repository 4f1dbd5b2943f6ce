"""Claims on synthetic tables with known answers."""

import hashlib
import itertools
import json

import numpy as np
import pandas as pd
import pytest

from metarl.claims import Files, check_claims, criteria, write_claims
from metarl.claims.model import UNDECIDED, Measurement, repetitions_needed
from metarl.claims.published import PUBLISHED
from metarl.errors import InputError, RunError
from metarl.results import columns

CRITERIA_VALUES = {
    "confidence": 0.95,
    "coefficient_distance_ratio_max": 0.75,
    "coefficient_distance_max": 0.05,
    "leave_one_out_relative_bias_max": 1.0e-10,
    "sampled_slope_tolerance": 0.25,
    "visible_bias_min": 0.05,
    "convergence_slope_difference_min": 0.5,
    "published_deviations_below_max": 1.0,
}
EXACT = ["1", "2-bias", "2-variance", "3-exact", "leave-one-out", "lsf-bias-rate", "baseline"]
TRAINED = ["3-training", "adaptation"]
SAMPLED = [f"{kind}-{at}" for kind in (1, 2, 3, "floor") for at in ("monte-carlo", "mujoco")]
OTHERS = ["3-improvement", "3-signal", "4", "training-by-n", "dice-over-lvc", "controls"]
OTHERS += [*(f"published-{environment}" for environment in PUBLISHED), "promp-ahead"]
OTHERS += ["promp-order"]
CONTROL = "metarl.audit.controls:doubled"
AS_CLAIMED = {  # estimator: relative bias and its slope, slope of the variance
    "unbiased": (1e-15, 0.0, 1.0),
    "unbiased_baseline": (1e-15, 0.0, 0.0),
    "leave_one_out": (1e-15, 0.0, -1.0),
    "lsf": (0.05, -1.0, -1.0),
    "dice": (0.05, -1.0, -1.0),
    "lvc": (0.09, 0.0, -1.0),
    "maml": (0.3, 0.0, -1.0),
    "fomaml": (0.1, 0.0, -1.0),
    "emaml": (0.3, 0.0, -1.0),
    CONTROL: (0.2, 0.0, -1.0),
}


def exact_frame(sizes=(4, 8, 16, 32, 64), **changed):
    """Power laws as claimed, but for the estimators in `changed`."""
    return pd.DataFrame(
        [
            {
                "problem": problem,
                "estimator": estimator,
                "sample_size": size,
                "bias": 2.0 * bias * float(size) ** bias_slope,
                "relative_bias": bias * float(size) ** bias_slope,
                "variance": 2 * float(size) ** variance_slope,
                "gradient_norm": 2.0,
            }
            for problem in ("bandit", "chain")
            for estimator, (bias, bias_slope, variance_slope) in (AS_CLAIMED | changed).items()
            for size in sizes
        ]
    )


def limit_frame(**changed):
    """The leading terms of the power laws as claimed, but for the estimators in `changed`."""
    rows = []
    for problem in ("bandit", "chain"):
        for estimator, (bias, order, variance_order) in (AS_CLAIMED | changed).items():
            rows.append(
                {
                    "problem": problem,
                    "estimator": estimator,
                    "bias_order": order,
                    "bias_coefficient": 2.0 * bias if bias > 1e-12 else 0.0,
                    "bias_floor": 2.0 * bias if bias > 1e-12 and order == 0 else 0.0,
                    "variance_order": variance_order,
                    "variance_coefficient": 2.0,
                    "gradient_norm": 2.0,
                }
            )
    return pd.DataFrame(rows)


def runs(algorithms, seeds, axes, mean_return):
    rows = [
        dict(
            zip(["environment", "algorithm", "estimator", "seed", *axes], values, strict=True),
            environment_steps=0,
            sample_size=20,
        )
        for values in (
            (environment, *algorithm, *rest)
            for environment, algorithm, *rest in itertools.product(
                ("HalfCheetahDir", "PointGoal"), algorithms.items(), range(seeds), *axes.values()
            )
        )
    ]
    return pd.DataFrame([row | {"mean_return": mean_return(row)} for row in rows])


def training_frame(seeds=3, advantage=5.0):
    """lsf_vpg ends `advantage` + seed above unbiased_vpg; only the last fifth of 10 iterations."""

    def mean_return(row):
        ahead = row["algorithm"] == "lsf_vpg" and row["inner_step"] == 1 and row["iteration"] >= 8
        return -50.0 + (advantage + row["seed"] if ahead else 0.0)

    algorithms = {"lsf_vpg": "lsf", "unbiased_vpg": "unbiased"}
    axes = {"iteration": range(10), "inner_step": range(2)}
    frame = runs(algorithms, seeds, axes, mean_return)
    signal = frame["seed"] + np.where(frame["estimator"] == "lsf", 3.0, 1.0)
    return frame.assign(gradient_norm=2 * np.sqrt(1 + signal), gradient_standard_error=2.0)


def evaluation_frame(seeds=3, gain=7.0):
    """One inner step gains `gain` + seed."""
    return runs(
        {"lsf_vpg": "lsf"},
        seeds,
        {"task": range(2), "inner_step": range(4)},
        lambda row: row["task"] + (gain + row["seed"]) * row["inner_step"],
    )


def published_frame(seeds=3, gain=7.0):
    """Published 0, 7, 14, 21 +- 2; measured `gain` an inner step."""
    one = evaluation_frame(seeds, gain)
    one = one[one["environment"] == "PointGoal"]
    frame = pd.concat([one.assign(environment=name) for name in PUBLISHED])
    return frame.assign(published_return=7.0 * frame["inner_step"], published_deviation=2.0)


def comparison_frame(seeds=3, emaml=0.0):
    """promp ends at 15 + seed, maml_trpo at 10 + seed, lsf at 12 + seed, dice_vpg at seed,
    emaml_trpo at `emaml`."""
    ends = {"promp": 15.0, "maml_trpo": 10.0, "lsf": 12.0, "dice_vpg": 0.0, "emaml_trpo": emaml}
    estimators = {"promp": "lvc", "maml_trpo": "maml", "lsf": "lsf", "dice_vpg": "dice"}

    def mean_return(row):
        over = row["inner_step"] == 1 and row["iteration"] >= 8
        spread = row["seed"] * (row["algorithm"] != "emaml_trpo")
        return ends[row["algorithm"]] + spread if over else -99.0

    axes = {"iteration": range(10), "inner_step": range(2)}
    return runs(estimators | {"emaml_trpo": "emaml"}, seeds, axes, mean_return)


def sampled_frame(sizes=(4, 8, 16, 32), **changed):
    """Inner variances as claimed; squared biases with intervals around them; dice deviates 1.6
    times as much as lvc."""
    rows = []
    for level, problem in (
        ("monte_carlo", "random_mdp_1"),
        ("mujoco", "HalfCheetahDir, initial policy"),
    ):
        for estimator, (bias, _, variance_slope) in (AS_CLAIMED | changed).items():
            for size in sizes:
                squared = 0.0 if bias < 1e-9 else (2 * bias) ** 2
                rows.append(
                    {
                        "level": level,
                        "problem": problem,
                        "estimator": estimator,
                        "sample_size": size,
                        "relative_bias": bias,
                        "relative_bias_low": 0.9 * bias,
                        "relative_bias_high": 1.1 * bias,
                        "squared_bias": squared,
                        "squared_bias_low": squared - 0.01,
                        "squared_bias_high": squared + 0.01,
                        "inner_variance": 3.0 * float(size) ** variance_slope,
                        "inner_variance_low": 2.97 * float(size) ** variance_slope,
                        "inner_variance_high": 3.03 * float(size) ** variance_slope,
                        "relative_standard_deviation": 1.6 if estimator == "dice" else 1.0,
                        "gradient_norm": 2.0,
                    }
                )
    frame = pd.DataFrame(rows).assign(
        confidence=CRITERIA_VALUES["confidence"], replicates=100, outer_sample_size=20
    )
    deviation = frame["relative_standard_deviation"]
    return frame.assign(
        relative_standard_deviation_low=0.9 * deviation,
        relative_standard_deviation_high=1.1 * deviation,
    )


def study_frame(gain=3.0):
    """lsf ends above unbiased by `gain` more at N = 80 than at N = 5."""

    def of_size(size):
        ahead = 1.0 + gain * (size == 80)
        frame = runs(
            {"lsf": "lsf", "unbiased": "unbiased"},
            3,
            {"iteration": range(5), "inner_step": range(2)},
            lambda row: (ahead + row["seed"]) * (row["estimator"] == "lsf"),
        )
        return frame.assign(sample_size=size)

    frame = pd.concat(map(of_size, (5, 80)), ignore_index=True)
    return frame[frame["environment"] == "PointGoal"]


def convergence_frame(exponents=(1.0, 0.0), seeds=3, iterations=4096):
    """Squared norms exp(-k / tau), tau = 10 N^exponent, of unbiased and lsf; seeds a tenth
    apart."""
    evaluated = np.unique([0, *np.round(2.0 ** np.arange(0, np.log2(iterations) + 0.01, 1 / 16))])
    rows = [
        {
            "problem": "bandit",
            "estimator": estimator,
            "sample_size": size,
            "epsilon": 0.05,
            "seed": seed,
            "iteration": int(k),
            "squared_gradient_norm": np.exp(-k / (10.0 * size**exponent * (1 + 0.1 * seed))),
        }
        for estimator, exponent in zip(("unbiased", "lsf"), exponents, strict=True)
        for size in (2, 4, 8, 16)
        for seed in range(seeds)
        for k in evaluated
    ]
    return pd.DataFrame(rows).assign(step_size=1.0, variance=1.0, squared_bias=0.0)


TABLES = {
    "exact": columns.EXACT,
    "limit": columns.LIMIT,
    "sampled": columns.SAMPLED,
    "convergence": columns.CONVERGENCE,
    "training": columns.TRAINING,
    "study": columns.TRAINING,
    "evaluation": columns.EVALUATION,
    "published": columns.PUBLISHED,
    "comparison": columns.TRAINING,
}
EVERYTHING = {
    "exact": exact_frame,
    "limit": limit_frame,
    "sampled": sampled_frame,
    "convergence": convergence_frame,
    "training": training_frame,
    "study": study_frame,
    "evaluation": evaluation_frame,
    "published": published_frame,
    "comparison": comparison_frame,
}


@pytest.fixture
def files(tmp_path, complete):
    """Writes frames by kind and gives their Files."""

    def write(**frames):
        for kind, frame in frames.items():
            complete(TABLES[kind], frame).to_parquet(tmp_path / f"{kind}.parquet")
        return Files(**{kind: [tmp_path / f"{kind}.parquet"] for kind in frames})

    return write


@pytest.fixture
def judge(files, tmp_path):
    """Writes the claims on the given frames and reads claims.json: {id: claim}.

    With the exact audit there are the limits as claimed.
    """

    def judge_frames(**frames):
        if "exact" in frames:
            frames = {"limit": limit_frame()} | frames
        write_claims(CRITERIA_VALUES, files(**frames), tmp_path / "claims")
        content = json.loads((tmp_path / "claims" / "claims.json").read_text())
        return {claim["id"]: claim for claim in content["claims"]}

    return judge_frames


def verdicts(claims):
    return {name: claim["verdict"] for name, claim in claims.items()}


def only_measurement(claim, **wanted):
    matching = [
        one
        for one in claim["measurements"]
        if all(one[key] == value for key, value in wanted.items())
    ]
    assert len(matching) == 1
    return matching[0]


def test_evidence_as_claimed_reproduces_everything(judge):
    outcomes = verdicts(judge(**{kind: frame() for kind, frame in EVERYTHING.items()}))
    assert set(outcomes) == {*EXACT, *TRAINED, *SAMPLED, *OTHERS}
    assert set(outcomes.values()) == {"reproduced"}


@pytest.mark.parametrize(
    ("estimator", "wrong", "caught"),
    [
        ("unbiased", (1e-15, 0.0, 0.5), {"1-monte-carlo", "1-mujoco"}),
        ("lsf", (0.05, -1.0, -0.5), {"2-monte-carlo", "2-mujoco"}),
        ("lvc", (0.09, -1.0, 0.0), {"3-monte-carlo", "3-mujoco"}),
        ("lvc", (0.04, 0.0, -1.0), {"floor-monte-carlo", "floor-mujoco"}),
        (CONTROL, (1e-15, 0.0, -1.0), {"controls"}),
        ("unbiased_baseline", (0.2, 0.0, 0.0), {"controls"}),
    ],
)
def test_sampled_evidence_against_a_claim(judge, estimator, wrong, caught):
    outcomes = verdicts(judge(sampled=sampled_frame(**{estimator: wrong})))
    assert {name for name, verdict in outcomes.items() if verdict == "not reproduced"} == caught


def test_noise_leaves_a_slope_open(judge):
    """Errors of 20% at N = 4, 8, 16, 32: sum (x - mean)^2 = 5 log(2)^2, so the slope's error is 0.2
    / sqrt(5) / log 2."""
    sampled = sampled_frame()
    margin = 1.959964 * 0.2 * sampled["inner_variance"]
    sampled["inner_variance_low"] = sampled["inner_variance"] - margin
    sampled["inner_variance_high"] = sampled["inner_variance"] + margin
    claim = judge(sampled=sampled)["1-monte-carlo"]
    assert claim["verdict"] == "undecided"
    (measurement,) = claim["measurements"]
    error = 0.2 / 5**0.5 / np.log(2)
    assert measurement["high"] - measurement["value"] == pytest.approx(1.959964 * error, rel=1e-5)
    takes = int(np.ceil(100 * (1.959964 * error / 0.25) ** 2))
    assert f"a decision would take about {takes}" in measurement["note"]


def test_a_level_that_cannot_see_maml_judges_no_control(judge):
    sampled = sampled_frame()
    sampled.loc[sampled["estimator"] == "maml", "squared_bias_low"] = -0.1
    claim = judge(sampled=sampled)["controls"]
    assert claim["verdict"] == "undecided"
    assert {one["outcome"] for one in claim["measurements"]} == {"reported"}


def test_an_unbiased_estimate_is_flagged_at_a_confidence_that_places_share(judge):
    """One in forty by chance, at one of two places, is no evidence; one in eighty is."""
    sampled = sampled_frame()
    mine = (sampled["estimator"] == "unbiased_baseline") & (sampled["level"] == "mujoco")
    for margin, verdict in ((1.1, "reproduced"), (1.2, "not reproduced")):  # 2.24 / 1.96 is 1.14
        value = 0.01 * margin
        sampled.loc[mine, ["squared_bias", "squared_bias_low"]] = value, value - 0.01
        assert judge(sampled=sampled)["controls"]["verdict"] == verdict


def test_a_control_that_the_exact_audit_misses(judge):
    claim = judge(exact=exact_frame(**{CONTROL: (1e-15, 0.0, -1.0)}))["controls"]
    assert claim["verdict"] == "not reproduced"
    assert only_measurement(claim, place="bandit", subject="doubled")["outcome"] == "fails"


def test_rates_and_bias_of_their_own_sample_sizes(judge):
    """In simulation slopes are over the N with the larger outer batch, bias is where a reference
    is."""
    sampled = sampled_frame()
    simulated = sampled["level"] == "mujoco"
    rates = simulated & (sampled["sample_size"] > 4)
    bias = simulated & ~rates
    against = ["squared_bias", "relative_bias"]
    ends = ["", "_low", "_high"]
    sampled.loc[rates, [*(f"{a}{end}" for a in against for end in ends), "gradient_norm"]] = np.nan
    sampled.loc[bias, "outer_sample_size"] = 10
    sampled.loc[bias, "inner_variance"] *= 100.0  # of another N than those of the rates
    claims = judge(sampled=sampled)
    for name in ("1-mujoco", "2-mujoco", "3-mujoco", "floor-mujoco", "controls"):
        assert claims[name]["verdict"] == "reproduced"
    assert "N = 8 to 32" in claims["2-mujoco"]["measurements"][0]["note"]
    floor = only_measurement(
        claims["floor-mujoco"], place="HalfCheetahDir, initial policy", subject="maml"
    )
    assert floor["note"] == "N = 4"


def test_the_ratio_of_deviations(judge):
    """Judged where the publication measured it: the same number elsewhere is reported."""
    sampled = sampled_frame()
    claim = judge(sampled=sampled)["dice-over-lvc"]
    (ratio,) = claim["measurements"]
    assert (ratio["value"], claim["verdict"]) == (pytest.approx(1.6), "reproduced")
    elsewhere = sampled.replace({"problem": {ratio["place"]: "ReacherGoal, initial policy"}})
    claim = judge(sampled=elsewhere)["dice-over-lvc"]
    (ratio,) = claim["measurements"]
    assert (ratio["outcome"], claim["verdict"]) == ("reported", "undecided")
    assert ratio["value"] == pytest.approx(1.6)
    deviations = [f"relative_standard_deviation{end}" for end in ("", "_low", "_high")]
    dice = sampled["estimator"] == "dice"
    sampled.loc[dice, deviations] *= 0.5 / 1.6
    assert judge(sampled=sampled)["dice-over-lvc"]["verdict"] == "not reproduced"
    sampled.loc[dice, deviations] *= 2
    assert judge(sampled=sampled)["dice-over-lvc"]["verdict"] == "undecided"
    sampled["relative_standard_deviation"] = np.nan
    assert judge(sampled=sampled)["dice-over-lvc"]["verdict"] == "undecided"


def test_the_probability_of_improvement(judge):
    """Of lsf's seeds 0, 1, 2 at -50, -49, -48 + advantage over unbiased at -50: a tie and two
    wins."""
    claim = judge(training=training_frame(advantage=0.0))["3-improvement"]
    measurement = only_measurement(claim, place="PointGoal", quantity="probability of improvement")
    assert measurement["value"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert measurement["outcome"] == "undecided"  # three times the tie has a chance of 1/27
    quantity = "difference of mean returns over training"
    ahead = judge(training=training_frame())["3-improvement"]
    area = only_measurement(ahead, place="PointGoal", quantity=quantity)
    assert area["value"] == pytest.approx(0.2 * 6.0)
    few = judge(training=training_frame(seeds=2))["3-improvement"]
    assert few["verdict"] == "undecided"


@pytest.mark.parametrize(("gain", "verdict"), [(3.0, "reproduced"), (-3.0, "not reproduced")])
def test_the_gain_by_sample_size(judge, gain, verdict):
    training = training_frame().assign(algorithm=lambda frame: frame["estimator"])
    claim = judge(study=study_frame(gain), training=training)["training-by-n"]
    assert claim["verdict"] == verdict
    assert only_measurement(claim, subject="lsf - unbiased, N = 20")["value"] == pytest.approx(6.0)
    judged = only_measurement(claim, subject="gain of lsf at N = 80 - at N = 5")
    assert judged["value"] == pytest.approx(gain)


def test_a_gain_names_the_diverged_runs_of_both(judge):
    study, lost = study_frame(), []
    for estimator, size in (("unbiased", 80), ("lsf", 5)):
        run = (study["estimator"] == estimator) & (study["sample_size"] == size)
        lost.append(run & (study["seed"] == 1))
    training = training_frame().assign(algorithm=lambda frame: frame["estimator"])
    for rows, name in zip(lost, ("N = 80 seed 1", "N = 5 seed 1"), strict=True):
        spoilt = study.assign(mean_return=study["mean_return"].mask(rows))
        claim = judge(study=spoilt, training=training)["training-by-n"]
        judged = only_measurement(claim, subject="gain of lsf at N = 80 - at N = 5")
        assert judged["note"].startswith(f"diverged, counted as the worst return: {name}")


def test_slopes_of_the_iterations(judge):
    """Known slopes 1 and 0, up to the spacing of the evaluated iterations, 1/16 octave."""
    claim = judge(convergence=convergence_frame())["4"]
    assert only_measurement(claim, subject="unbiased")["value"] == pytest.approx(1.0, abs=0.03)
    assert only_measurement(claim, subject="lsf")["value"] == pytest.approx(0.0, abs=1e-9)
    difference = only_measurement(claim, subject="unbiased - lsf")
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert difference["low"] > 0.9


@pytest.mark.parametrize(
    ("frame", "verdict"),
    [
        (convergence_frame(exponents=(1.0, 1.0)), "not reproduced"),
        (convergence_frame(exponents=(0.3, 0.0)), "not reproduced"),
        (convergence_frame(exponents=(0.5, 0.0)), "undecided"),
        (convergence_frame(seeds=2), "undecided"),
        # lsf stops at an early end of the run at the larger N
        (convergence_frame(exponents=(2.0, 1.0), iterations=256), "not reproduced"),
    ],
)
def test_convergence_otherwise(judge, frame, verdict):
    assert judge(convergence=frame)["4"]["verdict"] == verdict


def test_an_unbiased_run_that_never_gets_there_is_a_lower_bound(judge):
    claim = judge(convergence=convergence_frame(exponents=(2.0, 0.0), iterations=1024))["4"]
    unbiased = only_measurement(claim, subject="unbiased")
    assert "not reached at N = 8, 16" in unbiased["note"]
    assert 0.8 < unbiased["value"] < 2.0
    assert claim["verdict"] == "reproduced"


def test_tables_without_rows_are_refused(judge):
    with pytest.raises(InputError, match="no exact audit rows in 1 files"):
        judge(exact=exact_frame().iloc[:0])


def test_check_compares_with_what_was_written(judge, files, tmp_path):
    folder = tmp_path / "claims"
    judge(exact=exact_frame())
    before = (folder / "claims.json").read_bytes()
    right = files(exact=exact_frame(), limit=limit_frame())
    check_claims(CRITERIA_VALUES, right, folder)
    moved = CRITERIA_VALUES | {"coefficient_distance_max": 0.06}
    with pytest.raises(RunError, match="the criteria were changed"):
        check_claims(moved, right, folder)
    wrong = files(exact=exact_frame(lsf=(0.05, -1.0, -0.5)), limit=limit_frame())
    with pytest.raises(RunError, match="2-variance: reproduced -> not reproduced"):
        check_claims(CRITERIA_VALUES, wrong, folder)
    assert (folder / "claims.json").read_bytes() == before
    (folder / "claims.json").write_text("{}")
    with pytest.raises(InputError, match="is no claims.json"):
        check_claims(CRITERIA_VALUES, files(exact=exact_frame()), folder)


def test_the_second_order_expansion_is_reported(judge):
    second = {"lsf2": (0.05, -2.0, -1.0)}
    claim = judge(exact=exact_frame(**second), limit=limit_frame(**second))["lsf-bias-rate"]
    measurement = only_measurement(claim, place="chain", subject="lsf2")
    assert measurement["value"] == pytest.approx(0.1) and measurement["outcome"] == "reported"
    assert measurement["note"].startswith("of N^-2; enumerated at N = 64 within 0.00%")
    assert judge(exact=exact_frame())["lsf-bias-rate"]["verdict"] == "reproduced"


def test_no_evidence_leaves_everything_undecided(judge):
    assert set(verdicts(judge()).values()) == {"undecided"}


@pytest.mark.parametrize(
    ("estimator", "wrong", "caught"),
    [
        ("unbiased", (1e-15, 0.0, 0.0), {"1"}),
        ("unbiased", (1e-15, 0.0, 1.2), {"1"}),
        ("lsf", (0.05, 0.0, -1.0), {"2-bias", "lsf-bias-rate"}),
        ("lsf", (0.05, -0.4, -1.0), {"2-bias", "lsf-bias-rate"}),
        ("lsf", (0.05, -1.0, -0.5), {"2-variance"}),
        ("dice", (0.05, 0.0, -1.0), {"3-exact"}),
        ("maml", (0.3, 0.0, 0.0), {"3-exact"}),
        ("leave_one_out", (1e-9, 0.0, -1.0), {"leave-one-out"}),
        ("leave_one_out", (1e-15, 0.0, 0.0), {"leave-one-out"}),
        ("unbiased_baseline", (1e-15, 0.0, 1.0), {"baseline"}),
    ],
)
def test_planted_wrong_estimator_is_caught_and_nothing_else(judge, estimator, wrong, caught):
    outcomes = verdicts(judge(exact=exact_frame(**{estimator: wrong})))
    assert {name for name in EXACT if outcomes[name] == "not reproduced"} == caught
    assert {outcomes[name] for name in EXACT} == {"reproduced", "not reproduced"}


@pytest.mark.parametrize(
    ("estimator", "wrong", "caught"),
    [
        ("unbiased", (1e-15, 0.0, 0.0), {"1"}),
        ("lsf", (0.05, 0.0, -1.0), {"2-bias", "lsf-bias-rate"}),
        ("lsf", (0.05, -1.0, 0.0), {"2-variance"}),
        ("dice", (0.05, 0.0, -1.0), {"3-exact"}),
        ("leave_one_out", (1e-15, 0.0, 0.0), {"leave-one-out"}),
        ("unbiased_baseline", (1e-15, 0.0, 1.0), {"baseline"}),
    ],
)
def test_a_leading_term_of_another_order_is_caught(judge, estimator, wrong, caught):
    """Limits and enumeration agree on it, so that the order alone is wrong."""
    changed = {estimator: wrong}
    outcomes = verdicts(judge(exact=exact_frame(**changed), limit=limit_frame(**changed)))
    assert {name for name in EXACT if outcomes[name] == "not reproduced"} == caught


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.97, "reproduced"), (0.9, "not reproduced"), (2, "not reproduced")]
)
def test_a_coefficient_that_enumeration_does_not_approach_is_caught(judge, factor, verdict):
    limit = limit_frame()
    limit.loc[limit["estimator"] == "lsf", "variance_coefficient"] *= factor
    assert judge(exact=exact_frame(), limit=limit)["2-variance"]["verdict"] == verdict


def test_a_distance_that_halves_is_an_approach(judge):
    """2 / N + 20 / N^2: still a fifth away at N = 64, and nearer each octave."""
    exact = exact_frame()
    lsf = exact["estimator"] == "lsf"
    exact.loc[lsf, "variance"] += 20.0 / exact["sample_size"] ** 2.0
    claim = judge(exact=exact)["2-variance"]
    assert claim["verdict"] == "reproduced"
    measurement = only_measurement(claim, place="chain")
    assert measurement["note"] == (
        "of N^-1; enumerated at N = 64 within 15.62%, 0.50 of the distance at N = 32"
    )
    assert claim["measured"] == "coefficient of the variance 2 (bandit), 2 (chain)"
    assert "J_N(theta) = E[V(theta')]" in claim["estimand"]


def test_bias_floors_are_reported_and_not_judged(judge):
    changed = {"lvc": (0.04, -1.0, -1.0)}
    claim = judge(exact=exact_frame(**changed), limit=limit_frame(**changed))["3-exact"]
    assert claim["verdict"] == "reproduced"
    assert "maml on 2, fomaml on 2, lvc on 0, emaml on 2" in claim["remarks"][-1]
    wanted = {"place": "chain", "subject": "maml", "quantity": "bias floor / ||grad J_N||"}
    assert only_measurement(claim, **wanted)["value"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("estimator", "undecided"),
    [
        ("unbiased", {"1"}),
        ("lsf", {"2-bias", "2-variance", "lsf-bias-rate"}),
        ("emaml", set()),  # two measurements of fourteen
        ("leave_one_out", {"leave-one-out"}),
        ("unbiased_baseline", {"baseline"}),
    ],
)
def test_estimator_that_was_not_audited_leaves_its_claims_undecided(judge, estimator, undecided):
    audit = exact_frame()
    outcomes = verdicts(judge(exact=audit[audit["estimator"] != estimator]))
    assert {name for name in EXACT if outcomes[name] == "undecided"} == undecided


def test_one_sample_size_is_too_few(judge):
    claims = judge(exact=exact_frame(sizes=(8,)))
    assert {claims[name]["verdict"] for name in EXACT} == {"undecided"}
    assert "half the largest N is not in the audit" in claims["1"]["measurements"][0]["note"]


@pytest.mark.parametrize("column", ["bias", "variance"])
def test_values_that_are_not_finite_reproduce_nothing(judge, column):
    outcomes = verdicts(judge(exact=exact_frame().assign(**{column: np.nan})))
    using = {"bias": {"2-bias", "3-exact", "lsf-bias-rate"}}
    others = set(EXACT) - {"2-bias", "lsf-bias-rate"}
    assert {outcomes[name] for name in using.get(column, others)} == {"not reproduced"}


def test_the_signal_to_noise_of_gradients(judge):
    """Of squared norms 4 (1 + signal) and squared standard errors 4: signals 3, 4, 5 and 1, 2, 3;
    nearer to each other, the interval of three differences holds 0."""
    claim = judge(training=training_frame())["3-signal"]
    judged = only_measurement(claim, place="PointGoal", subject="lsf_vpg - unbiased_vpg")
    assert judged["value"] == pytest.approx(2.0) and judged["outcome"] == "holds"
    own = only_measurement(claim, place="PointGoal", subject="lsf_vpg")
    assert (own["value"], own["low"], own["high"]) == pytest.approx((4.0, 3.0, 5.0))
    training = training_frame()
    first = (training["estimator"] == "lsf") & (training["seed"] == 0)
    training.loc[first, "gradient_norm"] = 2.0
    assert judge(training=training)["3-signal"]["verdict"] == "undecided"
    assert claim["commands"] == ["snakemake all --forcerun train_HalfCheetahDir train_PointGoal"]


def test_final_returns_are_paired_over_seeds(judge):
    claim = judge(training=training_frame())["3-training"]
    measurement = only_measurement(claim, place="PointGoal")
    assert measurement["subject"] == "lsf_vpg - unbiased_vpg"
    assert (measurement["value"], measurement["low"], measurement["high"]) == pytest.approx(
        (6.0, 5.0, 7.0)
    )


def test_interval_that_holds_zero_is_undecided_and_below_it_not_reproduced(judge):
    claims = judge(training=training_frame(advantage=-1.0), evaluation=evaluation_frame(gain=-1.0))
    assert {claims[name]["verdict"] for name in TRAINED} == {"undecided"}
    notes = [one["note"] for name in TRAINED for one in claims[name]["measurements"]]
    assert all("no number of repetitions" in note for note in notes)
    claims = judge(training=training_frame(advantage=-3.0), evaluation=evaluation_frame(gain=-3.0))
    assert {claims[name]["verdict"] for name in TRAINED} == {"not reproduced"}


def test_two_seeds_are_undecided_and_have_no_interval(judge):
    claims = judge(training=training_frame(seeds=2), evaluation=evaluation_frame(seeds=2))
    for name in TRAINED:
        assert claims[name]["verdict"] == "undecided"
        for one in claims[name]["measurements"]:
            assert one["value"] > 0
            assert one["low"] is one["high"] is None
            assert "2 seed(s): an interval needs 3" in one["note"]


def test_environment_without_an_unbiased_run_is_undecided(judge):
    training = training_frame()
    missing = (training["environment"] == "PointGoal") & (training["estimator"] == "unbiased")
    claim = judge(training=training[~missing])["3-training"]
    assert claim["verdict"] == "undecided"
    measurement = only_measurement(claim, place="PointGoal")
    assert (measurement["subject"], measurement["note"]) == ("unbiased estimate", "no training run")


def test_runs_without_a_common_seed_are_undecided(judge):
    training = training_frame()
    training.loc[training["estimator"] == "unbiased", "seed"] += 10
    claim = judge(training=training)["3-training"]
    assert claim["verdict"] == "undecided"
    assert {one["note"] for one in claim["measurements"]} == {"no seed with a run of both"}


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_diverged_practical_run_counts_as_the_worst_return(judge, bad):
    training = training_frame()
    training.loc[0, "mean_return"] = -90.0  # before adaptation: not a post-adaptation return
    post = (training["environment"] == "PointGoal") & (training["inner_step"] == 1)
    worst = post & (training["algorithm"] == "unbiased_vpg") & (training["iteration"] == 0)
    training.loc[worst, "mean_return"] = -60.0
    diverged = post & (training["algorithm"] == "lsf_vpg") & (training["seed"] == 2)
    training.loc[diverged & (training["iteration"] >= 5), "mean_return"] = bad
    claim = judge(training=training)["3-training"]
    measurement = only_measurement(claim, place="PointGoal")
    assert measurement["value"] == pytest.approx((5 + 6 - 10) / 3)
    assert (measurement["low"], measurement["outcome"]) == (pytest.approx(-10), "undecided")
    assert "a decision would take about" in measurement["note"]
    assert measurement["note"].startswith("diverged, counted as the worst return: lsf_vpg seed 2;")
    assert claim["verdict"] == "undecided"  # one of two environments


def test_diverged_unbiased_run_counts_against_it(judge):
    training = training_frame()
    unbiased = (training["algorithm"] == "unbiased_vpg") & (training["seed"] == 0)
    training.loc[unbiased & (training["iteration"] >= 8), "mean_return"] = np.nan
    measurement = judge(training=training)["3-training"]["measurements"][0]
    assert measurement["outcome"] == "holds"
    assert "unbiased_vpg seed 0" in measurement["note"]


def test_environment_in_which_every_run_diverged_is_undecided(judge):
    training = training_frame().assign(mean_return=np.nan)
    evaluation = evaluation_frame().assign(mean_return=np.nan)
    claims = judge(training=training, evaluation=evaluation)
    for name in TRAINED:
        assert claims[name]["verdict"] == "undecided"
        assert {one["note"] for one in claims[name]["measurements"]} == {"every run diverged"}


def test_gain_is_that_of_the_first_inner_step(judge):
    claim = judge(evaluation=evaluation_frame())["adaptation"]
    measurement = only_measurement(claim, place="PointGoal", subject="lsf_vpg")
    assert (measurement["value"], measurement["low"], measurement["high"]) == pytest.approx(
        (8.0, 7.0, 9.0)
    )


def test_page_has_the_table_first_and_every_claim_after_it(judge, tmp_path):
    claims = judge(exact=exact_frame(), training=training_frame(), evaluation=evaluation_frame())
    page = (tmp_path / "claims" / "claims.md").read_text()
    table = page.split("## How to read this page")[0]
    for name, claim in claims.items():
        assert f"[{name}](#claim-{name})" in table
        assert f"## Claim {name}\n" in page
        assert claim["statement"] in page and claim["criterion"] in page
        assert all(command in page for command in claim["commands"])
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows} == {4, 6}
    assert "nan" not in page.split()


def test_commands_repeat_the_audit(judge):
    exact, limit = judge(exact=exact_frame())["leave-one-out"]["commands"]
    assert exact == (
        "metarl audit exact --problem bandit chain --estimators leave_one_out"
        " --sample-sizes 4 8 16 32 64 --output exact_bandit.parquet"
    )
    assert limit == (
        "metarl audit limit --problem bandit chain --estimators leave_one_out"
        " --output limit.parquet"
    )


def test_same_evidence_gives_the_same_bytes_and_the_criteria_their_hash(judge, tmp_path):
    frames = {kind: frame() for kind, frame in EVERYTHING.items()}
    contents = []
    for _ in range(2):
        judge(**frames)
        folder = tmp_path / "claims"
        contents.append([(folder / name).read_bytes() for name in ("claims.md", "claims.json")])
    assert contents[0] == contents[1]
    digest = hashlib.sha256(json.dumps(CRITERIA_VALUES, sort_keys=True).encode()).hexdigest()
    assert json.loads(contents[0][1])["criteria_sha256"] == digest
    assert digest in contents[0][0].decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": None}, "criterion confidence is None"),
        ({"confidence": 95}, "criterion confidence is 95: give a number between 0 and 1"),
        ({"visible_bias_min": "low"}, "criterion visible_bias_min is 'low'"),
        ({"visible_bias_min": True}, "criterion visible_bias_min is True"),
        ({"visible_bias_min": float("nan")}, "criterion visible_bias_min is nan"),
        ({"speed_max": 1.0}, "criterion speed_max is unknown: give exactly confidence"),
    ],
)
def test_bad_criteria_are_refused_and_nothing_is_written(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        write_claims(CRITERIA_VALUES | changes, Files(), tmp_path / "claims")
    assert not (tmp_path / "claims").exists()


@pytest.mark.parametrize("name", criteria.NAMES)
def test_every_criterion_is_required(tmp_path, name):
    others = {key: value for key, value in CRITERIA_VALUES.items() if key != name}
    with pytest.raises(InputError, match=f"criterion {name} is missing"):
        write_claims(others, Files(), tmp_path)


def test_a_sampled_audit_of_another_confidence_is_refused(files, tmp_path):
    audit = files(sampled=sampled_frame().assign(confidence=0.9))
    with pytest.raises(
        InputError, match=r"sampled.parquet: its intervals have confidence 0.9, 0.9"
    ):
        write_claims(CRITERIA_VALUES, audit, tmp_path / "claims")
    assert not (tmp_path / "claims").exists()


def test_the_claims_speak_of_the_declared_confidence(files, tmp_path):
    audit = files(sampled=sampled_frame().assign(confidence=0.9))
    write_claims(CRITERIA_VALUES | {"confidence": 0.9}, audit, tmp_path / "claims")
    page = (tmp_path / "claims" / "claims.md").read_text()
    assert "An interval of 90% excludes 0 by chance once in 20 times on this side;" in page
    assert "95" not in page and "0.9 interval" in page


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        write_claims(CRITERIA_VALUES, Files(exact=[tmp_path / "a.parquet"]), tmp_path / "claims")
    assert not (tmp_path / "claims").exists()


def test_published_returns_hold_within_or_above_the_interval(judge):
    """Measured 0.5 and, with seeds 0 to 2, gain + 1 more each step, against published 0, 7, 14, 21,
    each +- 2: above, within, at its end, below."""
    name = "published-PointGoal_finn2017"
    above, within = (judge(published=published_frame(gain=gain))[name] for gain in (9.0, 6.0))
    assert above["verdict"] == within["verdict"] == "reproduced"
    below = judge(published=published_frame(gain=5.0))[name]
    assert below["verdict"] == "not reproduced"
    outcomes = [one["outcome"] for one in below["measurements"]]
    assert outcomes[0] == "holds" and outcomes[-1] == "fails"
    one = only_measurement(below, subject="1 inner step")
    assert "published 7.0 +- 2; 3 of 3 seeds reach it" in one["note"]
    assert one["low"] < one["value"] < one["high"]
    assert judge(published=published_frame(seeds=1))[name]["measurements"][0]["low"] is None
    assert judge()[name]["verdict"] == "undecided"


def test_the_order_of_published_algorithms(judge):
    """promp ends 5 above maml_trpo and 15 above dice_vpg, and 15 + seed - emaml above emaml_trpo;
    what is reported beside decides nothing."""
    claims = judge(comparison=comparison_frame())
    first, order = claims["promp-ahead"], claims["promp-order"]
    assert (len(first["measurements"]), len(order["measurements"])) == (2 * 4, 2 * 4)
    place = {"place": "PointGoal"}
    assert only_measurement(first, **place, subject="promp - maml_trpo")["value"] == 5.0
    assert only_measurement(order, **place, subject="promp - dice_vpg")["value"] == 15.0
    over_emaml = only_measurement(order, **place, subject="maml_trpo - emaml_trpo")
    assert over_emaml["low"] <= over_emaml["value"] == 11.0 <= over_emaml["high"]
    lead = only_measurement(first, **place, subject="lsf - promp")
    assert (lead["value"], lead["outcome"]) == (-3.0, "reported")
    whole = comparison_frame()
    for other, wanted in (
        (whole, ("reproduced", "reproduced")),
        (comparison_frame(emaml=13.0), ("reproduced", "not reproduced")),
        (comparison_frame(emaml=18.0), ("not reproduced", "not reproduced")),
        (comparison_frame(seeds=2), ("undecided", "undecided")),
        (whole[whole["algorithm"] != "maml_trpo"], ("undecided", "undecided")),
    ):
        judged = judge(comparison=other)
        assert (judged["promp-ahead"]["verdict"], judged["promp-order"]["verdict"]) == wanted


def test_what_a_decision_takes_is_told_by_the_end_beyond_the_bound():
    """Of a skewed interval too, it takes more repetitions than there were."""
    for value, low, high, takes in (
        (0.14, 0.0, 0.23, 1188),  # 1024 (0.14 / 0.13)^2
        (-0.1, -0.2, 0.1, 3386),  # 1024 (0.2 / 0.11)^2
    ):
        skewed = Measurement("a", "b", "c", UNDECIDED, value, low, high)
        said = repetitions_needed(skewed, 0.01, 1024)
        assert said == f"a decision would take about {takes}"
    at_bound = Measurement("a", "b", "c", UNDECIDED, 0.01, 0.0, 0.2)
    assert repetitions_needed(at_bound, 0.01, 9).startswith("no number")
