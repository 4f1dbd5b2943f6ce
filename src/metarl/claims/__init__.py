"""Claims: what the paper says and what we add, each held against evidence by a declared criterion.

Reads exact audits, training runs and evaluations; writes claims.md, to read, and claims.json, to
compute with. The criteria are declared in the workflow's configuration before anything is measured;
claims.json carries their hash.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from metarl.claims import page
from metarl.claims.catalogue import CLAIMS
from metarl.claims.measurements import Evidence
from metarl.errors import InputError
from metarl.figures import tables
from metarl.storage import write_text

CRITERIA = (
    "confidence",
    "variance_slope_unbiased_min",
    "variance_slope_unbiased_max",
    "lsf_bias_slope_max",
    "lsf_variance_slope_max",
    "leave_one_out_relative_bias_max",
    "leave_one_out_variance_slope_max",
    "baseline_variance_slope_max",
    "practical_variance_slope_max",
)


def write_claims(
    criteria: Mapping[str, float],
    audit: Sequence[Path],
    training: Sequence[Path],
    evaluation: Sequence[Path],
    output: Path,
) -> None:
    """Judges every claim and writes claims.md and claims.json into the folder `output`.

    Args:
      criteria: the declared numbers, with exactly the keys CRITERIA.
      audit, training, evaluation: parquet files; without any, the claims on them are untested.
      output: a folder, made if missing.

    Raises:
      InputError: a criterion is missing, unknown or not a number, or a file is missing, unreadable
        or lacks a column. Nothing is written.
    """
    check_criteria(criteria)
    evidence = Evidence(
        criteria=criteria,
        audit=tables.read(tables.AUDIT, audit),
        training=tables.read(tables.TRAINING, training),
        evaluation=tables.read(tables.EVALUATION, evaluation),
    )
    claims = [judge(evidence) for judge in CLAIMS]
    write_text(page.to_json(claims, criteria), Path(output) / "claims.json")
    write_text(page.to_markdown(claims, evidence), Path(output) / "claims.md")


def check_criteria(criteria: Mapping[str, float]) -> None:
    """Raises InputError unless `criteria` maps exactly CRITERIA to finite numbers."""
    wrong = sorted(set(CRITERIA) ^ set(criteria))
    if wrong:
        kind = "missing" if wrong[0] in CRITERIA else "unknown"
        raise InputError(f"criterion {wrong[0]} is {kind}: give exactly {', '.join(CRITERIA)}")
    for name, value in criteria.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise InputError(f"criterion {name} is {value!r}: give a finite number")
    if not 0 < criteria["confidence"] < 1:
        raise InputError(
            f"criterion confidence is {criteria['confidence']}: give a number between 0 and 1"
        )
