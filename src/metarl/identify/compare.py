"""Which estimator does a gradient come from? A bundle's gradient beside every catalogue entry.

The references are computed in float64 by the code that training and the audits run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from metarl.errors import InputError
from metarl.estimators import CATALOGUE
from metarl.identify.bundle import Bundle
from metarl.identify.decompose import decompose, terms
from metarl.identify.fit import best_scale, cosine, relative_difference, residual
from metarl.identify.hints import find_hints
from metarl.identify.readings import Reading, readings
from metarl.identify.references import reference_gradients

FLOAT32_TOLERANCE = 1e-4
"""The least tolerance of a float32 bundle: summing thousands of steps loses up to about 1e-5."""


class Comparison(NamedTuple):
    """A gradient beside the references of one reading; all by entry, nearest first.

    Attributes:
      reading: of the bundle.
      differences: max |g - reference| / max |reference|.
      residuals: |g - s reference| / |g| at the best scale s.
      scales: s.
      cosines: of the angle between gradient and reference.
      matches: the entries whose difference is within the tolerance.
    """

    reading: Reading
    differences: dict[str, float]
    residuals: dict[str, float]
    scales: dict[str, float]
    cosines: dict[str, float]
    matches: list[str]


def compare(path: Path, bundle: Bundle, tolerance: float) -> dict:
    """How far a gradient is from every entry, which entries it matches, and what is in it.

    Args:
      path: of the bundle.
      bundle: what was read from it.
      tolerance: the largest relative difference of a match; a float32 bundle gets at least
        FLOAT32_TOLERANCE.

    Returns:
      file, dtype, tolerance (the one used), sample_size (N), reading ("" if the README's), matches
      (names; several
      where they agree on this data); by entry, in the order of the residual after scale,
      differences, residuals, scales and cosines; terms (coefficients of the decomposition),
      terms_residual, collinear (sentences), and, where neither an entry nor the sum of the terms is
      the gradient, hints and left_out (what there was no time to try).

    Raises:
      InputError: no entry is finite on the bundle's data.
    """
    if bundle.dtype == "float32":
        tolerance = max(tolerance, FLOAT32_TOLERANCE)
    comparisons = []
    for reading in readings(bundle):
        comparisons.append(beside_catalogue(reading, tolerance))
        if comparisons[-1].matches:
            break
    matched = comparisons[-1].matches
    best = comparisons[-1] if matched else comparisons[0]
    if not best.differences:
        raise InputError(
            f"{str(path)!r}: every estimator overflows on this data; check inner_learning_rate, "
            "parameters (log std too), advantages and the coefficients"
        )
    bundle = best.reading.bundle
    nearest = CATALOGUE[next(iter(best.differences))]
    decomposition = decompose(bundle.gradient, terms(bundle, nearest), bundle.dtype)
    off_scale = min(best.residuals.values()) > tolerance
    # a sum of the terms that is no entry (an entropy bonus, a mixture) needs no other explanation;
    # of a bundle of scores it may be an entry with another inner learning rate, with the losses of
    # a published deviation the entry that its paper describes under them
    as_described = not nearest.counterpart and bundle.outer_gradient is None
    is_sum = off_scale and decomposition.residual <= tolerance and as_described
    hints, left_out = [], []
    if not (matched or is_sum):
        hints, left_out = find_hints(bundle, best.residuals, best.scales, tolerance)
    return {
        "file": str(path),
        "dtype": bundle.dtype,
        "tolerance": tolerance,
        "sample_size": bundle.steps[0]["mask"].shape[1],
        "reading": best.reading.how,
        "matches": best.matches,
        "differences": best.differences,
        "residuals": best.residuals,
        "scales": best.scales,
        "cosines": best.cosines,
        "terms": decomposition.coefficients,
        "terms_residual": decomposition.residual,
        "collinear": decomposition.collinear,
        "hints": [hint._asdict() for hint in hints],
        "left_out": left_out,
    }


def beside_catalogue(reading: Reading, tolerance: float) -> Comparison:
    """The reading's gradient beside every entry that its data suffice for."""
    gradient = reading.bundle.gradient
    references = reference_gradients(reading.bundle, list(CATALOGUE.values()))
    residuals = {name: residual(gradient, row) for name, row in references.items()}
    order = sorted(references, key=lambda name: _rank(residuals[name]))

    def by_entry(measure) -> dict[str, float]:
        return {name: measure(gradient, references[name]) for name in order}

    differences = by_entry(relative_difference)
    return Comparison(
        reading=reading,
        differences=differences,
        residuals={name: residuals[name] for name in order},
        scales=by_entry(best_scale),
        cosines=by_entry(cosine),
        matches=[name for name, value in differences.items() if value <= tolerance],
    )


def _rank(value: float) -> float:
    """Rounded, so that entries that agree stand in the catalogue's order."""
    return float(f"{max(value, 1e-12):.6e}")


def failed(path: Path, error: Exception) -> Mapping:
    """What takes the place of a comparison where the bundle cannot be read."""
    return {"file": str(path), "error": str(error)}
