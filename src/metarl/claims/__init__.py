"""Claims: what the paper says and what we add, each held against evidence by a declared criterion.

Reads audits, convergence experiments, training runs and evaluations; writes claims.md, to read, and claims.json, to
compute with. The criteria are declared in the workflow's configuration before anything is measured;
claims.json carries their hash.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.claims import page
from metarl.claims.catalogue import CLAIMS, Claim
from metarl.claims.measurements import Evidence
from metarl.errors import InputError, RunError
from metarl.results import tables
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
    "convergence_slope_difference_min",
    "published_deviations_below_max",
)


@dataclass(frozen=True)
class Files:
    """The parquet files that claims rest on; without any of a kind, the claims on them are untested."""

    audit: Sequence[Path] = ()
    sampled: Sequence[Path] = ()
    convergence: Sequence[Path] = ()
    training: Sequence[Path] = ()
    study: Sequence[Path] = ()
    evaluation: Sequence[Path] = ()
    published: Sequence[Path] = ()


def judge_claims(criteria: Mapping[str, float], files: Files) -> tuple[list[Claim], Evidence]:
    """Judges every claim.

    Args:
      criteria: the declared numbers, with exactly the keys CRITERIA.
      files: the evidence.

    Raises:
      InputError: a criterion is missing, unknown or not a number, or a file is missing, unreadable
        or lacks a column.
    """
    check_criteria(criteria)
    evidence = Evidence(
        criteria=criteria,
        audit=tables.read(tables.AUDIT, files.audit),
        sampled=tables.read(tables.SAMPLED, files.sampled),
        convergence=tables.read(tables.CONVERGENCE, files.convergence),
        training=tables.read(tables.TRAINING, files.training),
        study=tables.read(tables.TRAINING, files.study),
        evaluation=tables.read(tables.EVALUATION, files.evaluation),
        published=tables.read(tables.PUBLISHED, files.published),
    )
    return [judge(evidence) for judge in CLAIMS], evidence


def write_claims(criteria: Mapping[str, float], files: Files, output: Path) -> None:
    """Judges every claim and writes claims.md and claims.json into the folder `output`, made if missing.

    Raises:
      InputError: as `judge_claims`. Nothing is written.
    """
    claims, evidence = judge_claims(criteria, files)
    write_text(page.to_json(claims, criteria), Path(output) / "claims.json")
    write_text(page.to_markdown(claims, evidence), Path(output) / "claims.md")


def check_claims(criteria: Mapping[str, float], files: Files, output: Path) -> None:
    """Judges every claim and compares with the claims.json in the folder `output`; writes nothing.

    Raises:
      InputError: as `judge_claims`, or there is no readable claims.json.
      RunError: a verdict differs, a claim is new or gone, or the criteria are others.
    """
    path = Path(output) / "claims.json"
    try:
        kept = json.loads(path.read_text())
        verdicts = {claim["id"]: claim["verdict"] for claim in kept["claims"]}
        digest = kept["criteria_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no claims.json; give the folder that metarl claims wrote"
        ) from error
    claims, _ = judge_claims(criteria, files)
    found = {claim.id: claim.verdict for claim in claims}
    changes = [
        f"{name}: {verdicts.get(name, 'absent')} -> {found.get(name, 'absent')}"
        for name in dict.fromkeys([*verdicts, *found])
        if verdicts.get(name) != found.get(name)
    ]
    if digest != page.hash_criteria(criteria):
        changes.append("the criteria were changed")
    if changes:
        raise RunError(f"not as in {path}: {'; '.join(changes)}")


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
