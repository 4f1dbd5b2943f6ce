"""Claims: what the paper says and what we add, each held against evidence by a declared criterion.

Reads audits, convergence experiments, training runs and evaluations; writes claims.md, to read, and
claims.json, to compute with. The criteria are declared in the workflow's configuration before
anything is measured; claims.json carries their hash. A claim stands in the module of its level,
beside what it measures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from metarl.claims import convergence, exact, page, published, sampled, training
from metarl.claims.criteria import read_criteria
from metarl.claims.model import Claim, Evidence
from metarl.errors import RunError
from metarl.results import columns, tables
from metarl.results.columns import Table
from metarl.storage import write_text

CLAIMS: tuple[Callable[[Evidence], Claim], ...] = (  # in the order of the page
    exact.unbiased_variance,
    *map(sampled.unbiased_variance, sampled.LEVELS),
    exact.lsf_bias,
    exact.lsf_variance,
    *map(sampled.lsf_variance, sampled.LEVELS),
    exact.practical_variants,
    *map(sampled.practical_variants, sampled.LEVELS),
    *map(sampled.bias_floors, sampled.LEVELS),
    training.practical_estimates_train_better,
    training.probable_improvement,
    training.gradients_stand_out,
    convergence.better_dependence_on_sample_size,
    exact.leave_one_out,
    exact.lsf_bias_is_sharper,
    exact.baseline,
    training.gain_by_sample_size,
    training.adaptation_pays,
    sampled.dice_over_lvc,
    *map(published.reaches_published_returns, published.PUBLISHED),
    published.promp_is_ahead,
    published.promp_and_maml_are_ahead,
    sampled.negative_controls,
)


@dataclass(frozen=True)
class Files:
    """The parquet files that claims rest on; without any of a kind, its claims are undecided."""

    exact: Sequence[Path] = ()
    limit: Sequence[Path] = ()
    sampled: Sequence[Path] = ()
    convergence: Sequence[Path] = ()
    training: Sequence[Path] = ()
    study: Sequence[Path] = ()
    evaluation: Sequence[Path] = ()
    published: Sequence[Path] = ()
    comparison: Sequence[Path] = ()


def judge_claims(criteria: Mapping[str, float], files: Files) -> tuple[list[Claim], Evidence]:
    """Judges every claim.

    Args:
      criteria: the declared numbers, see `metarl.claims.criteria.Criteria`.
      files: the evidence.

    Raises:
      InputError: a criterion is missing, unknown or not a number, a file is missing, unreadable or
        does not fit its table, the files of a kind have no row, or a sampled audit's intervals have
        another confidence.
    """
    declared = read_criteria(criteria)
    tables.require_confidence(files.sampled, declared.confidence)

    def rows(table: Table, paths: Sequence[Path]) -> pd.DataFrame:
        return (tables.read_some if paths else tables.read)(table, paths)

    evidence = Evidence(
        criteria=declared,
        exact=rows(columns.EXACT, files.exact),
        limit=rows(columns.LIMIT, files.limit),
        sampled=rows(columns.SAMPLED, files.sampled),
        convergence=rows(columns.CONVERGENCE, files.convergence),
        training=rows(columns.TRAINING, files.training),
        study=rows(columns.TRAINING, files.study),
        evaluation=rows(columns.EVALUATION, files.evaluation),
        published=rows(columns.PUBLISHED, files.published),
        comparison=rows(columns.TRAINING, files.comparison),
    )
    return [claim(evidence) for claim in CLAIMS], evidence


def write_claims(criteria: Mapping[str, float], files: Files, output: Path) -> None:
    """Judges every claim and writes claims.md and claims.json into the folder `output`.

    Raises:
      InputError: as `judge_claims`. Nothing is written.
    """
    claims, evidence = judge_claims(criteria, files)
    write_text(page.to_json(claims, evidence.criteria), Path(output) / "claims.json")
    write_text(page.to_markdown(claims, evidence), Path(output) / "claims.md")


def check_claims(criteria: Mapping[str, float], files: Files, output: Path) -> None:
    """Judges every claim and compares with the claims.json in `output`; writes nothing.

    Raises:
      InputError: as `judge_claims`, or there is no readable claims.json.
      RunError: a verdict differs, a claim is new or gone, or the criteria are others.
    """
    path = Path(output) / "claims.json"
    kept = page.read_json(path)
    verdicts = {claim["id"]: claim["verdict"] for claim in kept["claims"]}
    claims, evidence = judge_claims(criteria, files)
    now = {claim.id: claim.verdict for claim in claims}
    changes = [
        f"{name}: {verdicts.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in dict.fromkeys([*verdicts, *now])
        if verdicts.get(name) != now.get(name)
    ]
    if kept["criteria_sha256"] != page.hash_criteria(evidence.criteria):
        changes.append("the criteria were changed")
    if changes:
        raise RunError(
            f"not as in {path}: {'; '.join(changes)}; if this is meant, snakemake paper_figures"
            " keeps what a run gave"
        )
    print(f"{len(now)} verdicts and their criteria are as in {path}")
