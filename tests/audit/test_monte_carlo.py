"""The Monte Carlo audit against enumeration, plain NumPy loops and closed forms.

Stochastic tests have fixed seeds and state the rate at which another seed would fail them, and the
smallest error that they would catch.
"""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import stats

from metarl.audit import monte_carlo, sampled
from metarl.audit.monte_carlo import MDP, MonteCarlo, Run
from metarl.audit.settings import MonteCarloSettings
from metarl.errors import InputError, RunError
from metarl.estimators import CATALOGUE, estimator, meta_gradient
from metarl.outer_values import ClosedForm
from metarl.randomness import generator
from metarl.results.statistics import percentile_interval, resampled_counts

NAMES = ("leave_one_out", "unbiased_baseline", "lsf", "maml")
LARGE_SIZE = 4096  # replicates of the small process


def small_mdp(states: int = 3, actions: int = 2, horizon: int = 3) -> MDP:
    """Small, with transitions that are far from deterministic."""
    draw = np.random.default_rng(5)
    return MDP(
        transitions=draw.dirichlet(np.ones(states), (states, actions)),
        rewards=draw.uniform(size=(states, actions)),
        discounts=0.8 ** np.arange(horizon),
        parameters=draw.normal(size=states * actions),
        inner_learning_rate=np.array(1.0),
    )


def naive_policy(mdp: MDP, parameters: np.ndarray) -> np.ndarray:
    """pi(a | s), [S, A]."""
    table = np.exp(parameters.reshape(mdp.rewards.shape))
    return table / table.sum(axis=1, keepdims=True)


def uniforms(seed: int, tasks: int, rows: int, mdp: MDP) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(tasks, rows, len(mdp.discounts), 2))


class TestProcess:
    def test_totals_sum_over_all_trajectories(self):
        mdp = small_mdp()
        states, actions = map(range, mdp.rewards.shape)
        for parameters in (mdp.parameters, -mdp.parameters):
            policy, expected = naive_policy(mdp, parameters), np.zeros(3)
            for path in itertools.product(states, repeat=3):
                for plan in itertools.product(actions, repeat=3):
                    chance = float(path[0] == 0)
                    for t in range(3):
                        chance *= policy[path[t], plan[t]]
                    for t in range(2):
                        chance *= mdp.transitions[path[t], plan[t], path[t + 1]]
                    gains = [0.8**t * mdp.rewards[path[t], plan[t]] for t in range(3)]
                    advantages = sum(sum(gains[t:]) for t in range(3))
                    expected += chance * np.array([sum(gains), advantages, 3.0])
            totals = monte_carlo.totals(mdp, tf.constant(parameters[None]))
            np.testing.assert_allclose(np.ravel(totals), expected, rtol=1e-12)

    def test_baseline_is_the_value_after_the_expected_update(self):
        mdp, step = small_mdp(), 1e-6

        def value(parameters: np.ndarray) -> float:
            return float(monte_carlo.totals(mdp, tf.constant(parameters[None])).reward[0])

        gradient = [
            (value(mdp.parameters + step * axis) - value(mdp.parameters - step * axis)) / (2 * step)
            for axis in np.eye(len(mdp.parameters))
        ]
        expected = value(mdp.parameters + 1.0 * np.array(gradient))
        assert float(monte_carlo.value_baseline(mdp)) == pytest.approx(expected, abs=1e-8)

    def test_sampler_equals_a_loop(self):
        mdp = small_mdp(states=4, actions=3, horizon=5)
        parameters = np.random.default_rng(1).normal(size=(2, 12))
        draws = uniforms(2, 2, 50, mdp)
        states, actions = monte_carlo.sample(mdp, parameters, draws)
        for k, i in itertools.product(range(2), range(50)):
            state = 0
            for t in range(5):
                row, action = naive_policy(mdp, parameters[k])[state], 0
                while action < 2 and draws[k, i, t, 0] >= row[: action + 1].sum():
                    action += 1
                assert (states[k, i, t], actions[k, i, t]) == (state, action)
                row, state = mdp.transitions[state, action], 0
                while state < 3 and draws[k, i, t, 1] >= row[: state + 1].sum():
                    state += 1

    def test_visits_follow_dynamic_programming(self):
        """Chi-square over states and actions at every step; false-fail rate 5 x 1e-4 over seeds.

        With 20,000 trajectories it would catch a probability of 0.2 that is off by 0.015 in most
        cases.
        """
        mdp = small_mdp(states=4, actions=3, horizon=5)
        states, actions = monte_carlo.sample(mdp, mdp.parameters[None], uniforms(3, 1, 20_000, mdp))
        occupancy = np.eye(4)[0]
        for t in range(5):
            chances = occupancy[:, None] * naive_policy(mdp, mdp.parameters)
            counts = np.zeros((4, 3))
            np.add.at(counts, (states[0, :, t], actions[0, :, t]), 1)
            possible = chances > 0
            assert counts[~possible].sum() == 0
            expected = 20_000 * chances[possible]
            assert stats.chisquare(counts[possible], expected).pvalue > 1e-4
            occupancy = np.einsum("sa,sax->x", chances, mdp.transitions)

    def test_batch(self):
        mdp = small_mdp()
        states, actions = monte_carlo.sample(mdp, mdp.parameters[None], uniforms(4, 1, 6, mdp))
        batch = monte_carlo.trajectories(mdp, tf.constant(mdp.parameters[None]), states, actions)
        for i in range(6):
            gains = [0.8**t * mdp.rewards[states[0, i, t], actions[0, i, t]] for t in range(3)]
            np.testing.assert_allclose(batch.rewards[0, i], gains)
            np.testing.assert_allclose(batch.advantages[0, i], [sum(gains[t:]) for t in range(3)])
        np.testing.assert_array_equal(np.argmax(batch.observations, -1), states)
        np.testing.assert_array_equal(np.argmax(batch.actions, -1), actions)
        np.testing.assert_allclose(
            np.exp(batch.behaviour[0]), naive_policy(mdp, mdp.parameters)[states]
        )
        assert float(tf.reduce_sum(batch.weights)) == pytest.approx(1.0)

    def test_instances_are_those_of_the_declared_sizes(self):
        first, again, other = (monte_carlo.random_mdp(number) for number in (0, 0, 1))
        assert first.rewards.shape == (20, 5) and len(first.discounts) == 20
        assert first.discounts[1] == 0.8
        np.testing.assert_allclose(first.transitions.sum(axis=-1), 1.0)
        assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
        assert not np.array_equal(first.rewards, other.rewards)


@pytest.fixture(scope="module")
def small_sample() -> tuple[MDP, tuple, tuple, dict[str, np.ndarray]]:
    """A small process, inner samples of N = 2, the first outer samples, g_hat [2, R, P] by name."""
    mdp = small_mdp()
    group = MonteCarlo([estimator(name) for name in NAMES])
    start = np.repeat(mdp.parameters[None], LARGE_SIZE, axis=0)
    inner = monte_carlo.sample(mdp, start, uniforms(7, LARGE_SIZE, 2, mdp))
    after = group.adapted(mdp, *inner).numpy()
    baseline = monte_carlo.value_baseline(mdp)
    outer = [monte_carlo.sample(mdp, after, uniforms(s, LARGE_SIZE, 64, mdp)) for s in (8, 9)]
    halves = [group.practical(mdp, inner, half, baseline) for half in outer]
    gradients = {name: np.stack([half[name] for half in halves]) for name in NAMES}
    return mdp, inner, outer[0], gradients


def naive_value(mdp: MDP, policy: np.ndarray) -> tuple[float, np.ndarray]:
    """V and grad V [S, A] at pi(a | s): forward over visits and backward over values."""
    horizon, values, action_values = len(mdp.discounts), np.zeros(len(policy)), []
    for t in reversed(range(horizon)):
        action_values.insert(0, mdp.discounts[t] * mdp.rewards + mdp.transitions @ values)
        values = np.sum(policy * action_values[0], axis=1)
    visits, gradient = np.eye(len(policy))[0], np.zeros_like(policy)
    for t in range(horizon):
        mean = np.sum(policy * action_values[t], axis=1, keepdims=True)
        gradient += visits[:, None] * policy * (action_values[t] - mean)
        visits = np.einsum("s,sa,sax->x", visits, policy, mdp.transitions)
    return values[0], gradient


def naive_gradient(
    mdp: MDP, name: str, inner: tuple, outer: tuple | None, baseline: float
) -> np.ndarray:
    """g_hat of one replicate, [P], from states and actions [N, T] of both samples, step by step.

    Without an outer sample, with exact values.
    """
    shape = mdp.rewards.shape

    def score(policy: np.ndarray, state: int, action: int) -> np.ndarray:
        gradient = np.zeros(shape)
        gradient[state] = -policy[state]
        gradient[state, action] += 1.0
        return gradient

    def steps(data: tuple, i: int) -> list[tuple[int, int, float, float]]:
        """State, action, discounted reward and reward-to-go of every step."""
        pairs = list(zip(data[0][i], data[1][i], strict=True))
        gains = [0.8**t * mdp.rewards[pair] for t, pair in enumerate(pairs)]
        return [(*pair, gains[t], sum(gains[t:])) for t, pair in enumerate(pairs)]

    before = naive_policy(mdp, mdp.parameters)
    rows, outer_rows = range(len(inner[0])), range(len(outer[0]) if outer else 0)
    constant = mdp.inner_learning_rate / len(rows)
    shares = [
        constant * sum(to_go * score(before, s, a) for s, a, _, to_go in steps(inner, i))
        for i in rows
    ]
    adapted = mdp.parameters.reshape(shape) + sum(shares)
    after = naive_policy(mdp, adapted)
    if outer:
        direction = sum(
            to_go * score(after, s, a) for j in outer_rows for s, a, _, to_go in steps(outer, j)
        ) / len(outer_rows)
    else:
        direction = naive_value(mdp, after)[1]

    def value(parameters: np.ndarray) -> float:
        policy, total = naive_policy(mdp, parameters), 0.0
        if not outer:
            return naive_value(mdp, policy)[0]
        for j in outer_rows:
            ratio = 1.0
            for s, a, gain, _ in steps(outer, j):
                ratio *= policy[s, a] / after[s, a]
                total += ratio * gain / len(outer_rows)
        return total

    gradient = direction.copy()
    for i in rows:
        for s, _, _, to_go in steps(inner, i):
            probabilities = before[s]
            covariance = np.diag(probabilities) - np.outer(probabilities, probabilities)
            gradient[s] -= constant * to_go * covariance @ direction[s]
        weight = {
            "maml": 0.0,
            "unbiased": value(adapted),
            "lsf": np.sum(shares[i] * direction),
            "unbiased_baseline": value(adapted) - baseline,
            "leave_one_out": value(adapted) - value(adapted - shares[i]),
        }[name]
        gradient += weight * sum(score(before, s, a) for s, a, _, _ in steps(inner, i))
    return gradient.ravel()


@pytest.mark.parametrize("name", NAMES)
def test_one_replicate_by_hand(small_sample, name):
    mdp, inner, outer, gradients = small_sample
    baseline = float(monte_carlo.value_baseline(mdp))
    for replicate in (0, 17):
        expected = naive_gradient(
            mdp,
            name,
            tuple(x[replicate] for x in inner),
            tuple(x[replicate] for x in outer),
            baseline,
        )
        np.testing.assert_allclose(gradients[name][0, replicate], expected, atol=1e-12)


@pytest.mark.parametrize("name", ["unbiased", "leave_one_out", "lsf"])
def test_one_replicate_with_exact_values_by_hand(name):
    mdp = small_mdp(states=4, actions=3, horizon=5)
    start = np.repeat(mdp.parameters[None], 2, axis=0)
    inner = monte_carlo.sample(mdp, start, uniforms(11, 2, 3, mdp))
    baseline = monte_carlo.value_baseline(mdp)
    found = MonteCarlo([estimator(name)]).gradients(mdp, inner, baseline)[name]
    for replicate in range(2):
        own = tuple(x[replicate] for x in inner)
        expected = naive_gradient(mdp, name, own, None, float(baseline))
        np.testing.assert_allclose(found[replicate], expected, atol=1e-10)


def test_answers_once_are_those_that_each_estimator_would_ask_for():
    """Against `ClosedForm` in the estimator itself."""
    mdp = small_mdp(states=4, actions=3, horizon=5)
    before = tf.repeat(mdp.parameters[None], 2, axis=0)
    inner = monte_carlo.sample(mdp, before.numpy(), uniforms(12, 2, 3, mdp))
    entries = [estimator(name) for name in ("lsf2", "leave_one_out", "emaml", "unbiased")]
    found = MonteCarlo(entries).gradients(mdp, inner, monte_carlo.value_baseline(mdp))
    batch = monte_carlo.trajectories(mdp, before, *inner)
    outer = partial(ClosedForm, partial(monte_carlo.totals, mdp))
    for entry in entries:
        expected = meta_gradient(mdp.policy, entry, before, [batch], mdp.inner, outer)
        np.testing.assert_allclose(found[entry.name], expected, atol=1e-12)


def test_one_program_serves_every_batch():
    """Of a loop's second derivatives XLA takes the batch for a constant: it compiles for each."""
    mdp = small_mdp(states=4, actions=3, horizon=5)
    before = tf.repeat(mdp.parameters[None], 2, axis=0)
    inner = monte_carlo.sample(mdp, before.numpy(), uniforms(12, 2, 3, mdp))
    program = MonteCarlo([estimator("lsf2")]).exact.get_concrete_function(mdp, inner)
    assert not [x.name for x in program.graph.get_operations() if x.type.endswith("While")]


def test_gradient_of_the_totals_against_finite_differences():
    mdp, step = small_mdp(states=4, actions=3, horizon=5), 1e-6
    gradient = ClosedForm(partial(monte_carlo.totals, mdp), tf.constant(mdp.parameters[None]))
    rows = mdp.parameters + step * np.concatenate([np.eye(12), -np.eye(12)])
    up, down = np.split(monte_carlo.totals(mdp, tf.constant(rows)).reward.numpy(), 2)
    expected = (up - down) / (2 * step)
    np.testing.assert_allclose(gradient.gradient(lambda *_: None)[0], expected, atol=1e-9)


def variances(mdp: MDP, size: int, replicates: int) -> dict[str, float]:
    """Of unbiased and lsf with exact values."""
    group = MonteCarlo([estimator(name) for name in ("unbiased", "lsf")])
    start = np.repeat(mdp.parameters[None], replicates, axis=0)
    inner = monte_carlo.sample(mdp, start, uniforms(size, replicates, size, mdp))
    estimates = group.gradients(mdp, inner, monte_carlo.value_baseline(mdp))
    return {name: float(np.var(x, axis=0, ddof=1).sum()) for name, x in estimates.items()}


def test_variances_have_their_rates():
    """Slopes between N = 16 and 128 within 0.2 of +1 and -1, on the small process.

    With 400 replicates the error of a log variance is about 0.1, that of a slope 0.07 at most:
    false-fail rate below 1/100 over seeds. It would catch a slope that is off by 0.4.
    """
    mdp = small_mdp()
    small, large = (variances(mdp, size, 400) for size in (16, 128))
    slopes = {name: np.log(large[name] / small[name]) / np.log(8) for name in small}
    assert slopes == pytest.approx({"unbiased": 1.0, "lsf": -1.0}, abs=0.2)


def test_practical_variance_is_that_of_two_batches(small_sample):
    """Variance with one outer batch: inner + outer of the pair.

    The 99 % interval of one batch covers the estimate from two, with which it shares replicates:
    false-fail rate below 1/50 over seeds. It would catch a missing outer part.
    """
    *_, gradients = small_sample
    counts = resampled_counts(np.random.default_rng(3), LARGE_SIZE, 400)
    for name in ("lsf", "leave_one_out"):
        pair = gradients[name]
        both = sampled.measures(pair, gradients["leave_one_out"], counts[:1])
        low, high = percentile_interval(sampled.total_variance(pair[0], counts)[1:], 0.99)
        assert both["inner_variance"][0] < low < both["variance"][0] < high


def test_unbiased_estimates_agree_and_biased_ones_do_not(small_sample):
    """95 % intervals of the squared difference to leave_one_out, 0 for another unbiased estimate.

    At 0 such an interval covers more than 95 %: false-fail rate below 1/40 over seeds. It would
    catch a bias of a fifth of maml's.
    """
    *_, gradients = small_sample
    counts = resampled_counts(np.random.default_rng(0), LARGE_SIZE, sampled.RESAMPLES)

    def bias(name: str) -> np.ndarray:
        measures = sampled.measures(gradients[name], gradients["leave_one_out"], counts)
        return measures["squared_bias"]

    low, high = percentile_interval(bias("unbiased_baseline")[1:], 0.95)
    assert low < 0 < high < (bias("maml")[0] ** 0.5 / 5) ** 2
    for name in ("lsf", "maml"):
        assert percentile_interval(bias(name)[1:], 0.95)[0] > 0


def test_inner_variance_is_that_with_an_exact_outer_gradient(small_sample):
    """lsf with v = grad V(theta') by dynamic programming has no outer variance.

    The two estimates share their inner noise, so the tolerance is that of the outer noise alone: 4
    standard errors of the difference, false-fail rate 1e-4 over seeds; it would catch an error of
    30 %.
    """
    mdp, inner, _, gradients = small_sample

    before = tf.repeat(mdp.parameters[None], LARGE_SIZE, axis=0)
    batch = monte_carlo.trajectories(mdp, before, *inner)
    exact = meta_gradient(
        mdp.policy,
        estimator("lsf"),
        before,
        [batch],
        mdp.inner,
        partial(ClosedForm, partial(monte_carlo.totals, mdp)),
    ).numpy()
    first, second = gradients["lsf"] - gradients["lsf"].mean(axis=1, keepdims=True)
    centred = exact - exact.mean(axis=0)
    differences = np.sum(first * second - centred**2, axis=1)
    error = differences.std() / LARGE_SIZE**0.5
    assert abs(differences.mean()) < 4 * error
    expected = np.sum(centred**2) / (LARGE_SIZE - 1)
    assert 4 * error < 0.3 * expected
    once = np.ones((1, LARGE_SIZE))
    measures = sampled.measures(gradients["lsf"], gradients["lsf"], once)
    assert measures["inner_variance"][0] == pytest.approx(expected, abs=4 * error)


@pytest.fixture
def tiny(monkeypatch):
    """Instances and chunks so small that they compile and run in seconds."""
    for name, value in (("STATES", 3), ("ACTIONS", 2), ("HORIZON", 3), ("CHUNK", 4)):
        monkeypatch.setattr(monte_carlo, name, value)


def settings(**changes) -> MonteCarloSettings:
    given = {
        "instances": (0,),
        "estimators": ("leave_one_out", "lsf"),
        "sample_sizes": (2,),
        "replicates": 6,
        "practical_replicates": 6,
    }
    return MonteCarloSettings(**given | changes)


class TestAudit:
    def test_same_seed_same_bytes_and_columns(self, tiny, tmp_path):
        for name in ("a", "b"):
            monte_carlo.audit(settings(), tmp_path / name, tmp_path / f"{name}.parquet")
        assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
        table = pd.read_parquet(tmp_path / "a.parquet")
        assert list(table["estimator"]) == ["leave_one_out", "lsf"]
        assert set(table["problem"]) == {"random_mdp_0"} and set(table["level"]) == {"monte_carlo"}
        assert (table["outer_sample_size"] == 0).all() and (table["outer_variance"] == 0).all()
        lsf = table[table["estimator"] == "lsf"]
        assert np.isfinite(lsf.select_dtypes("number").to_numpy()).all()

    def test_draws_do_not_depend_on_the_number_of_replicates_or_on_other_estimators(self, tiny):
        few = Run(settings(replicates=3, estimators=("maml",))).gradients(1, 2)
        many = Run(
            settings(replicates=6, practical_replicates=8, estimators=("maml", "dice"))
        ).gradients(1, 2)
        for fewer, more in zip(few, many, strict=True):
            assert fewer["maml"].shape == (3, 6) and more["maml"].shape == (6, 6)
            np.testing.assert_allclose(fewer["maml"], more["maml"][:3], rtol=1e-12)
            assert not np.allclose(more["maml"][:2], more["maml"][4:])  # chunks differ
        assert not np.allclose(many[0]["maml"], many[1]["maml"])

    def test_a_replicate_from_its_uniforms(self, tiny):
        """leave_one_out by hand: samples of theta and of theta' from their uniforms."""
        exact, practical = Run(settings()).gradients(0, 2)
        mdp, shape = monte_carlo.random_mdp(0), (4, 2, 3, 2)
        draws = generator(0, "monte carlo", 0, 2, 0).uniform(size=shape)
        start = np.repeat(mdp.parameters[None], 4, axis=0)
        inner = monte_carlo.sample(mdp, start, draws)
        after = MonteCarlo([estimator("lsf")]).adapted(mdp, *inner).numpy()
        draws = generator(0, "monte carlo outer", 0, 2, 0).uniform(size=shape)
        outer = monte_carlo.sample(mdp, after, draws)
        own, other = (tuple(x[1] for x in data) for data in (inner, outer))
        expected = naive_gradient(mdp, "leave_one_out", own, other, baseline=0.0)
        np.testing.assert_allclose(practical["leave_one_out"][1], expected, atol=1e-12)
        expected = naive_gradient(mdp, "leave_one_out", own, None, baseline=0.0)
        np.testing.assert_allclose(exact["leave_one_out"][1], expected, atol=1e-12)

    @pytest.mark.parametrize("loss", sorted({x.inner_loss.__name__ for x in CATALOGUE.values()}))
    def test_every_entry_of_the_catalogue_is_finite(self, tiny, loss):
        """At N = 4, by inner loss; what needs no curvature has a practical estimate too."""
        names = [x.name for x in CATALOGUE.values() if x.inner_loss.__name__ == loss]
        exact, practical = Run(settings(estimators=tuple(names), practical_replicates=4)).gradients(
            0, 4
        )
        for name in names:
            assert exact[name].shape == (6, 6) and np.isfinite(exact[name]).all()
            assert (name in practical) == (name != "lsf2")
        assert all(x.shape == (4, 6) and np.isfinite(x).all() for x in practical.values())

    def test_an_interrupted_audit_goes_on(self, monkeypatch, tmp_path):
        done, stop_at = [], [(1, 4)]

        def gradients(run: Run, number: int, size: int):
            if (number, size) in stop_at:
                raise KeyboardInterrupt
            done.append((number, size))
            draw = generator(number, size)
            estimates = {n: draw.normal(size=(6, 2)) for n in run.settings.estimators}
            return estimates, estimates

        monkeypatch.setattr(Run, "gradients", gradients)
        given = settings(instances=(0, 1), sample_sizes=(4, 2))
        with pytest.raises(KeyboardInterrupt):
            monte_carlo.audit(given, tmp_path / "a", tmp_path / "a.parquet")
        assert done == [(0, 2), (1, 2), (0, 4)] and not (tmp_path / "a.parquet").exists()
        stop_at.clear()
        done.clear()
        monte_carlo.audit(given, tmp_path / "a", tmp_path / "a.parquet")
        assert done == [(1, 4)]
        monte_carlo.audit(given, tmp_path / "b", tmp_path / "b.parquet")
        assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()

    def test_an_estimate_that_is_not_finite_is_named(self, monkeypatch, tmp_path):
        estimates = {"leave_one_out": np.zeros((6, 2)), "lsf": np.full((6, 2), np.nan)}
        monkeypatch.setattr(Run, "gradients", lambda *_: (estimates, {}))
        with pytest.raises(RunError, match="lsf is not finite at N = 2 on random_mdp_0"):
            monte_carlo.audit(settings(), tmp_path / "c", tmp_path / "out.parquet")
        assert not list(tmp_path.iterdir())

    def test_an_unknown_estimator_writes_nothing(self, tmp_path):
        with pytest.raises(InputError, match="unknown estimator 'lfs'"):
            monte_carlo.audit(settings(estimators=("lfs",)), tmp_path / "c", tmp_path / "o.parquet")
        assert not list(tmp_path.iterdir())
