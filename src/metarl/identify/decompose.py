"""What is in a gradient: a least-squares fit on the few terms that every estimator is a sum of.

    g = a v + b eta mean_i[(grad f_i)^T v] + sum_j w_j sum_it W^j_it g_it + ...

The score weights are told apart by which steps they pair: with d_it = g_it . v,

    self     W_it = c A_it d_it                      a step with itself: lvc
    later    W_it = c sum_{t' > t} A_it' d_it'       with later ones: half of dice's other pairs
    causes   W_it = c A_it sum_{t' < t} d_it'        dice's other half
    earlier  W_it = c sum_{t' < t} A_it' d_it'       with earlier ones: lsf's other pairs

With several inner steps the terms are those of first order in the score weights: entries that
weigh scores differ from a sum of them by their products.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metarl.estimators import CATALOGUE, Estimator, InnerStep
from metarl.estimators.catalogue import emaml, unbiased
from metarl.identify.bundle import Bundle
from metarl.identify.references import reference_gradients

LEAST_NEW = {"float64": 1e-8, "float32": 1e-4}
"""The part of a term outside the span of those before it below which the two are collinear."""


def weighted_products(step: InnerStep) -> tf.Tensor:
    """A_it d_it where the step happened: [K, N, T]."""
    return step.batch.mask * step.batch.advantages * step.score_products


def with_itself(step: InnerStep) -> tf.Tensor:
    """W_it = c A_it d_it."""
    return step.constant * weighted_products(step)


def with_later(step: InnerStep) -> tf.Tensor:
    """W_it = c sum_{t' > t} A_it' d_it'."""
    products = weighted_products(step)
    return step.constant * tf.cumsum(products, axis=-1, exclusive=True, reverse=True)


def with_causes(step: InnerStep) -> tf.Tensor:
    """W_it = c A_it sum_{t' < t} d_it'."""
    earlier = tf.cumsum(step.batch.mask * step.score_products, axis=-1, exclusive=True)
    return step.constant * step.batch.advantages * earlier


def with_earlier(step: InnerStep) -> tf.Tensor:
    """W_it = c sum_{t' < t} A_it' d_it'."""
    return step.constant * tf.cumsum(weighted_products(step), axis=-1, exclusive=True)


SCORE_TERMS = {
    "self": with_itself,
    "later": with_later,
    "causes": with_causes,
    "earlier": with_earlier,
    "V_hat scores": unbiased,
    "mean reward mean log pi": emaml,
}
LEGEND = {
    "v": "grad V_hat(theta')",
    "inner Jacobian": "eta mean_i[(grad f_i)^T v]",
    "self": "W_it = c A_it d_it",
    "later": "W_it = c sum_{t'>t} A_it' d_it'",
    "causes": "W_it = c A_it sum_{t'<t} d_it'",
    "earlier": "W_it = c sum_{t'<t} A_it' d_it'",
    "V_hat scores": "W_it = V_hat(theta')",
    "other tasks' V_hat scores": "W_it = -b, b the other tasks' mean V_hat(theta')",
    "mean reward mean log pi": "W_it = mean reward / (N T)",
    "inner KL": "minus the gradient of the inner KL divergence",
    "entropy": "an entropy bonus in the outer objective",
}
"""The terms, in the order of the fit, and what they are."""


class Decomposition(NamedTuple):
    """A fit of a gradient.

    Attributes:
      coefficients: by term.
      residual: what the fit leaves of the gradient, relative.
      collinear: a sentence for every term that others make up on this data.
    """

    coefficients: dict[str, float]
    residual: float
    collinear: list[str]


def terms(bundle: Bundle, entry: Estimator) -> dict[str, np.ndarray]:
    """The terms [P] with the inner and outer loss of `entry`, by the names of LEGEND.

    Entropy and KL divergence are pulled back as `entry` does it, with its score weights.
    """
    plain = bundle._replace(kl_coefficient=0.0, entropy_coefficient=0.0)
    losses = {"inner_loss": entry.inner_loss, "outer_loss": entry.outer_loss}
    first_order, maml, baseline = (
        CATALOGUE[name]._replace(**losses) for name in ("fomaml", "maml", "unbiased_baseline")
    )
    rows = [first_order, maml, baseline]
    rows += [maml._replace(name=name, weights=weights) for name, weights in SCORE_TERMS.items()]
    gradients = reference_gradients(plain, rows)
    if not {"maml", "fomaml"} <= set(gradients):  # they overflow
        return {}
    base, v = gradients["maml"], gradients["fomaml"]
    vectors = {"v": v, "inner Jacobian": base - v}
    vectors |= {name: gradients[name] - base for name in SCORE_TERMS if name in gradients}
    if baseline.name in gradients:
        difference = gradients[baseline.name] - gradients["V_hat scores"]
        vectors["other tasks' V_hat scores"] = difference
    coefficients = {}
    if bundle.outer_gradient is None:
        coefficients["entropy"] = "entropy_coefficient"
    moved = not np.array_equal(bundle.parameters, bundle.evaluation_parameters)
    if moved or any("mean" in step for step in bundle.steps):  # else the divergence is at its least
        coefficients["inner KL"] = "kl_coefficient"
    without = reference_gradients(plain, [entry]) if coefficients else {}
    for name, key in coefficients.items():
        with_one = reference_gradients(plain._replace(**{key: 1.0}), [entry])
        if with_one and without:  # else it overflows
            vectors[name] = with_one[entry.name] - without[entry.name]
    return {name: vectors[name] for name in LEGEND if name in vectors}


def decompose(gradient: np.ndarray, vectors: dict[str, np.ndarray], dtype: str) -> Decomposition:
    """Fits the gradient [P] by a sum of terms [P].

    Args:
      gradient: what to fit.
      vectors: the terms; one that those before it make up is left out, or takes the place of the
        only one that it is a multiple of, if that brings the coefficient nearer to 1.
      dtype: what the gradient was computed in: how much of a term must be its own.
    """
    least = LEAST_NEW[dtype]
    largest = max((np.linalg.norm(vector) for vector in vectors.values()), default=0.0)
    kept, basis, collinear, multiples = {}, [], [], {}
    for name, vector in vectors.items():
        length = np.linalg.norm(vector)
        if length <= 1e-13 * largest:
            continue
        unit = vector / length
        for _ in range(2):  # once more for rounding
            unit = unit - sum((direction * (direction @ unit) for direction in basis), start=0.0)
        if np.linalg.norm(unit) > least and len(basis) < len(vector) - 1:
            basis.append(unit / np.linalg.norm(unit))
            kept[name] = vector
            continue
        twin = next((other for other in kept if _parallel(kept[other], vector, least)), None)
        if twin:
            ratio = float(vector @ kept[twin] / (kept[twin] @ kept[twin]))
            multiples[name] = twin, ratio
            collinear.append(f"{name} is {ratio:.3g} times {twin}")
        else:
            collinear.append(f"{name} is a sum of the terms before it")
    coefficients = _fit(gradient, kept)
    for name, (twin, ratio) in multiples.items():
        if twin in coefficients and _share(gradient, coefficients[twin] * vectors[twin]) > least:
            other = coefficients[twin] / ratio
            if abs(math.log(abs(other))) < abs(math.log(abs(coefficients[twin]))):
                del coefficients[twin]
                coefficients[name] = other
    remains = gradient - sum(
        (coefficients[name] * vectors[name] for name in coefficients), start=0.0
    )
    residual = float(np.linalg.norm(remains) / max(np.linalg.norm(gradient), 1e-300))
    ordered = {name: coefficients[name] for name in vectors if name in coefficients}
    return Decomposition(ordered, residual, collinear)


def _share(gradient: np.ndarray, part: np.ndarray) -> float:
    return float(np.linalg.norm(part) / max(np.linalg.norm(gradient), 1e-300))


def _parallel(x: np.ndarray, y: np.ndarray, least: float) -> bool:
    remains = y - x * (x @ y) / (x @ x)
    return bool(np.linalg.norm(remains) <= least * np.linalg.norm(y))


def _fit(gradient: np.ndarray, vectors: dict[str, np.ndarray]) -> dict[str, float]:
    """Least squares on columns of unit length."""
    if not vectors:
        return {}
    lengths = np.array([np.linalg.norm(vector) for vector in vectors.values()])
    columns = np.stack(list(vectors.values()), axis=1) / lengths
    solution = np.linalg.lstsq(columns, gradient, rcond=None)[0] / lengths
    return dict(zip(vectors, map(float, solution), strict=True))
