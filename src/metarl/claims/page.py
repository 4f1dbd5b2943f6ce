"""The two files: claims.json to compute with, claims.md to read."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from metarl.claims.criteria import Criteria
from metarl.claims.model import Claim, Evidence, Measurement
from metarl.errors import InputError


def hash_criteria(criteria: Criteria) -> str:
    """SHA-256 of the criteria as JSON with sorted keys: shows whether one of them was moved."""
    return hashlib.sha256(json.dumps(asdict(criteria), sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> dict:
    """The content of a claims.json.

    Raises:
      InputError: there is no such file, or it lacks the digest of its criteria or a claim's id,
        level, verdict or measurements.
    """
    try:
        content = json.loads(Path(path).read_text())
        keys = ("id", "level", "verdict", "measurements")
        _ = content["criteria_sha256"], [claim[key] for claim in content["claims"] for key in keys]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no claims.json ({error}); give one that metarl claims wrote"
        ) from None
    return content


def to_json(claims: Sequence[Claim], criteria: Criteria) -> str:
    """The content of claims.json; null stands for a number that does not exist."""
    content = {
        "criteria": asdict(criteria),
        "criteria_sha256": hash_criteria(criteria),
        "claims": [_claim_to_dict(claim) for claim in claims],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _claim_to_dict(claim: Claim) -> dict:
    return {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "estimand": claim.estimand,
        "level": claim.level,
        "criterion": claim.criterion,
        "verdict": claim.verdict,
        "measured": claim.measured,
        "measurements": [_measurement_to_dict(one) for one in claim.measurements],
        "figure": claim.figure,
        "commands": list(claim.commands),
        "remarks": list(claim.remarks),
    }


def _measurement_to_dict(measurement: Measurement) -> dict:
    def finite(number: float) -> float | None:
        return number if math.isfinite(number) else None

    return {
        "place": measurement.place,
        "subject": measurement.subject,
        "quantity": measurement.quantity,
        "value": finite(measurement.value),
        "low": finite(measurement.low),
        "high": finite(measurement.high),
        "outcome": measurement.outcome,
        "note": measurement.note,
    }


def to_markdown(claims: Sequence[Claim], evidence: Evidence) -> str:
    """The content of claims.md: a table of verdicts, how to read it, each claim in detail."""
    confidence = evidence.criteria.confidence
    lines = [
        "# Claims",
        "",
        _describe(evidence),
        "",
        *table(
            ["claim", "statement", "by", "verdict", "measured"],
            [
                [
                    f"[{claim.id}](#claim-{claim.id})",
                    claim.statement,
                    claim.source,
                    f"**{claim.verdict}**",
                    claim.measured,
                ]
                for claim in claims
            ],
        ),
        "",
        *_how_to_read(evidence),
    ]
    for claim in claims:
        lines += ["", *_details(claim, confidence)]
    return "\n".join(lines) + "\n"


def _describe(evidence: Evidence) -> str:
    """What the verdicts rest on, in one sentence each."""
    training = evidence.training
    runs = len(training[["environment", "algorithm", "seed"]].drop_duplicates())
    scale = ", ".join(
        _count(training[column].nunique(), column)
        for column in ("environment", "algorithm", "seed")
    )
    return (
        "The paper is Tang, *Biased Gradient Estimate with Drastic Variance Reduction for Meta"
        " Reinforcement Learning*, ICML 2022; N is the number of inner-loop trajectories of a task."
        f" The verdicts rest on exact audits of {_count(len(evidence.problems), 'problem')},"
        f" sampled audits of {_count(evidence.sampled['problem'].nunique(), 'problem')}, SGD on"
        f" {_count(evidence.convergence['problem'].nunique(), 'problem')} and on"
        f" {_count(runs, 'training run')}" + (f" ({scale})." if runs else ".")
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _how_to_read(evidence: Evidence) -> list[str]:
    reproduced = (
        "Reproduced: more than half of the judged measurements fulfil the criterion and none"
        " contradicts it; the table says how many. Not reproduced: one contradicts it. Undecided:"
        " half or more cannot tell, and their notes say what a decision would take."
    )
    slopes = (
        "Exact rates are judged by coefficients: the leading term as N grows is exact, without"
        " enumeration, and the enumerated values approach it. In sampled audits a slope is that of"
        " a straight line on log-log axes over all N, and the interval of its noise is judged."
    )
    returns = (
        "Intervals of returns are percentile bootstrap intervals over seeds. With three seeds such"
        " an interval is about their range, and those of few seeds are narrower than they say: one"
        " that is to hold the mean in 19 of 20 cases does so, of normal data, in 15 with 3 seeds,"
        " 17 with 5 and 18 with 10."
    )
    published = (
        "Published returns are judged by the mean over the seeds that were run, be it one, and not"
        " by an interval: the criterion was declared so."
    )
    divergence = (
        "A return that is not finite, of a run that diverged, counts as the worst return seen in"
        " its environment."
    )
    commands = (
        "`snakemake` commands run the default scale; `--configfile config/paper.yaml` is another."
    )
    criteria = f"SHA-256 of the declared criteria: `{hash_criteria(evidence.criteria)}`."
    notes = (reproduced, slopes, returns, published, divergence, commands, criteria)
    return ["## How to read this page", "", *(f"- {note}" for note in notes)]


def _details(claim: Claim, confidence: float) -> list[str]:
    figure = f"[{claim.figure}]({claim.figure}.svg)" if claim.figure else "none"
    lines = [
        f"## Claim {claim.id}",
        "",
        f"> {claim.statement}",
        "",
        f"- Claimed by: {claim.source}",
        f"- Estimand: {claim.estimand}",
        f"- Level: {claim.level}",
        f"- Criterion: {claim.criterion}",
        f"- Verdict: **{claim.verdict}**",
        f"- Figure: {figure}",
    ]
    if claim.remarks:
        lines += ["", " ".join(claim.remarks)]
    if claim.measurements:
        heads = [
            "where",
            "what",
            "quantity",
            "value",
            f"{confidence:.4g} interval",
            "outcome",
            "note",
        ]
        rows = [
            [
                one.place,
                one.subject,
                one.quantity,
                one.number,
                one.interval,
                one.outcome,
                one.note,
            ]
            for one in claim.measurements
        ]
        lines += ["", *table(heads, rows)]
    if claim.commands:
        lines += ["", "Measure it again:", "", "```bash", *claim.commands, "```"]
    return lines


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    cells = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(row)} |" for row in cells]
