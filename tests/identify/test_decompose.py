"""Random mixtures of the terms, made by loops in NumPy, are taken apart again."""

import numpy as np
import pytest
from numpy_maml import SHAPE, Code, bundle, parts, sample

from metarl.estimators import CATALOGUE
from metarl.identify.bundle import read_bundle
from metarl.identify.compare import compare
from metarl.identify.decompose import decompose, terms

NAMES = ("v", "inner Jacobian", "self", "later", "causes", "earlier")


def mixture(seed: int, dtype: type, weights: dict[str, float], path) -> str:
    """A bundle whose gradient is the sum of the terms with the given weights."""
    theta, steps = sample(seed, Code())
    theta = theta.astype(dtype)
    steps = [{key: value.astype(dtype) for key, value in step.items()} for step in steps]
    vectors = parts(Code(), theta.astype(float), steps)
    scores, outer = vectors.pop("scores"), steps[1]["rewards"].mean(axis=(1, 2))
    vectors["V_hat scores"] = outer[:, None] * scores.sum(axis=(1, 2))
    gradient = sum(weight * vectors[name].mean(axis=0) for name, weight in weights.items())
    np.savez(path, **bundle(Code(), theta, steps, gradient.astype(dtype)))
    return path


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-8), (np.float32, 1e-3)])
@pytest.mark.parametrize("seed", range(3))
def test_random_mixtures(seed, dtype, error, tmp_path):
    draw = np.random.default_rng(seed)
    weights = dict(zip(NAMES, draw.uniform(0.5, 2.0, len(NAMES)), strict=True))
    weights["V_hat scores"] = draw.uniform(0.5, 2.0)
    data = read_bundle(mixture(seed, dtype, weights, tmp_path / "bundle.npz"))
    result = decompose(data.gradient, terms(data, CATALOGUE["maml"]), data.dtype)
    assert result.residual < 1e-6
    for name, weight in weights.items():
        assert abs(result.coefficients[name] - weight) < error * weight, name
    others = set(result.coefficients) - set(weights)
    assert others and all(abs(result.coefficients[name]) < error for name in others)


@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("fomaml", {"v"}),
        ("maml", {"v", "inner Jacobian"}),
        ("lvc", {"v", "inner Jacobian", "self"}),
        ("dice", {"v", "inner Jacobian", "self", "later", "causes"}),
        ("lsf", {"v", "inner Jacobian", "self", "later", "earlier"}),
        ("emaml", {"v", "inner Jacobian", "mean reward mean log pi"}),
        ("unbiased", {"v", "inner Jacobian", "V_hat scores"}),
        ("unbiased_baseline", {"v", "inner Jacobian", "V_hat scores", "other tasks' V_hat scores"}),
    ],
)
def test_entries_are_sums_of_their_terms(name, present, tmp_path):
    """With coefficients of 1; what is collinear on the data goes by the name that has it."""
    from metarl.identify.references import reference_gradients

    data = read_bundle(mixture(1, np.float64, {"v": 1.0}, tmp_path / "bundle.npz"))
    (gradient,) = reference_gradients(data, [CATALOGUE[name]]).values()
    result = decompose(gradient, terms(data, CATALOGUE["maml"]), "float64")
    assert result.residual < 1e-9
    large = {term: value for term, value in result.coefficients.items() if abs(value) > 1e-6}
    assert set(large) == present
    assert all(abs(value - 1.0) < 1e-7 for value in large.values())
    assert any("48" in line or "0.0208" in line for line in result.collinear)  # N T = 48


def test_terms_that_others_make_up_are_said():
    """Of three vectors in a plane the last has no coefficient; of two parallel ones the first."""
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(2, 9))
    vectors = {"first": first, "second": second, "sum": first + second, "twice": 2.0 * second}
    result = decompose(0.3 * first + 2.0 * second, vectors, "float64")
    assert set(result.coefficients) == {"first", "twice"}  # 1.0 twice, rather than 2.0 second
    assert result.coefficients["twice"] == pytest.approx(1.0)
    assert result.collinear == [
        "sum is a sum of the terms before it",
        "twice is 2 times second",
    ]


def test_an_entropy_bonus_is_a_term_and_a_key(tmp_path):
    """0.02 of the mean entropy of a learned std: its gradient is 1 for every log std, through J."""
    theta, steps = sample(2, Code())
    bonus = np.zeros_like(theta)
    bonus[-2:] = 0.02
    vectors = parts(Code(), theta, steps)
    plain = (vectors["v"] + vectors["inner Jacobian"]).mean(axis=0)

    def through_the_inner_step(k: int) -> np.ndarray:
        step = {key: value[k] for key, value in steps[0].items()}
        weights = step["advantages"] / (SHAPE[1] * SHAPE[2])
        at = theta + 1e-30j * bonus
        moved = Code().gradient(at, step["observations"], step["actions"], weights)
        return bonus + 0.1 * moved.imag / 1e-30

    gradient = plain + np.mean([through_the_inner_step(k) for k in range(SHAPE[0])], axis=0)
    arrays = bundle(Code(), theta, steps, gradient)
    path = tmp_path / "bundle.npz"
    np.savez(path, **arrays)
    result = compare(path, read_bundle(path), 1e-6)
    assert result["terms"]["entropy"] == pytest.approx(0.02, abs=1e-8)
    np.savez(path, **arrays, entropy_coefficient=np.array(0.02))
    assert "maml" in compare(path, read_bundle(path), 1e-9)["matches"]


@pytest.mark.parametrize("name", ["maml", "lvc", "dice"])
@pytest.mark.parametrize(("key", "term"), [("entropy", "entropy"), ("kl", "inner KL")])
def test_bonus_and_penalty_pass_through_the_entry_s_score_weights(name, key, term, tmp_path):
    """0.02 of them, of two inner steps and away from the policy that acted; nothing is left."""
    from metarl.identify.references import reference_gradients

    code = Code(learning_rates=(0.1, 0.1))
    theta, steps = sample(2, code)
    arrays = bundle(code, theta, steps, np.ones_like(theta))
    arrays["evaluation_parameters"] = 1.1 * theta
    np.savez(tmp_path / "bundle.npz", **arrays)
    data = read_bundle(tmp_path / "bundle.npz")
    entry = CATALOGUE[name]
    known, with_more = (
        reference_gradients(data._replace(**{f"{key}_coefficient": value}), [entry])[name]
        for value in (0.0, 0.02)
    )
    vectors = terms(data, entry)
    more = decompose(with_more - known, {term: vectors[term]}, "float64")
    assert more.coefficients[term] == pytest.approx(0.02, rel=1e-8)
    assert more.residual < 1e-8
