"""The criteria: the numbers that claims are held against, declared before anything is measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from metarl.errors import InputError


@dataclass(frozen=True)
class Criteria:
    """Every number that a verdict depends on. A slope is that of log(value) against log(N)."""

    confidence: float
    """Of every interval."""
    coefficient_distance_ratio_max: float
    """The largest share of the distance to the leading coefficient that an octave of N may leave;
    in theory 1/2."""
    coefficient_distance_max: float
    """A relative distance that needs no further approach."""
    leave_one_out_relative_bias_max: float
    """The largest relative bias of an estimate that is called unbiased: rounding in float64."""
    sampled_slope_tolerance: float
    """Where values have noise: how far a slope may be on the wrong side of its theory."""
    visible_bias_min: float
    """The least relative bias that counts as a floor in sampled audits."""
    convergence_slope_difference_min: float
    """The least slope in N of the iterations to epsilon, unbiased minus lsf; in theory 1."""
    published_deviations_below_max: float
    """Published standard deviations that a return may lie below the published mean."""


NAMES = tuple(field.name for field in fields(Criteria))


def read_criteria(given: Mapping[str, float]) -> Criteria:
    """The criteria of a JSON object or a section of the configuration.

    Raises:
      InputError: one is missing, unknown or not a finite number, or no probability is the
        confidence.
    """
    wrong = sorted(set(NAMES) ^ set(given))
    if wrong:
        kind = "missing" if wrong[0] in NAMES else "unknown"
        raise InputError(f"criterion {wrong[0]} is {kind}: give exactly {', '.join(NAMES)}")
    for name, value in given.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise InputError(f"criterion {name} is {value!r}: give a finite number")
    if not 0 < given["confidence"] < 1:
        raise InputError(
            f"criterion confidence is {given['confidence']}: give a number between 0 and 1"
        )
    return Criteria(**given)
