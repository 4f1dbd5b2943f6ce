# The names that the rules share.
import dataclasses
import json
from pathlib import Path

from metarl import configuration, figures
from metarl.configuration import flags
from metarl.sources import environment_module, sources

RESULTS = config["results"]
FIGURES = config["figures"]
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"

EXACT = config["audit"]["exact"]
MONTE_CARLO = config["audit"]["monte_carlo"]
MUJOCO = config["audit"]["mujoco"]
CONVERGENCE = config["convergence"]
CONFIDENCE = config["claims"]["confidence"]
PUBLISHED = config["published"]
TRAINING = configuration.training_runs(config)  # settings by environment and algorithm
STUDY = configuration.study_runs(config)  # and by sample size

# What is kept of the runs with published settings: part of the repository, whatever the scale.
ARCHIVE = "archive"
ARCHIVED_RETURNS = [f"{ARCHIVE}/{environment}_returns.parquet" for environment in PUBLISHED]
ARCHIVED_PATHS = {  # by the figure that shows them
    figure: [
        f"{ARCHIVE}/{environment}_paths.parquet"
        for environment, run in PUBLISHED.items()
        if run.get("figure") == figure
    ]
    for figure in ("point_paths", "torso_positions")
}

RUN = "{environment}/{algorithm}/seed_{seed}"
STUDY_RUN = "{environment}/{algorithm}/N{sample_size}/seed_{seed}"
RUNS = [
    RUN.format(environment=e, algorithm=a, seed=s) for e, a in TRAINING for s in config["seeds"]
]
STUDY_RUNS = [
    STUDY_RUN.format(environment=e, algorithm=a, sample_size=size, seed=seed)
    for e, a, size in STUDY
    for seed in config["seeds"]
]


def tables(folder, name, **wildcards):
    return expand(f"{RESULTS}/{folder}/{name}.parquet", **wildcards)


JUDGED = [problem for problem, settings in EXACT["problems"].items() if settings["judged"]]
ONE_STEP = [  # what the audit in simulation is of
    environment
    for (environment, algorithm), settings in TRAINING.items()
    if algorithm == MUJOCO["algorithm"] and settings.inner_steps == 1
]
AUDIT_TABLES = tables("audit", "exact_{problem}", problem=EXACT["problems"])
JUDGED_TABLES = tables("audit", "exact_{problem}", problem=JUDGED)
MONTE_CARLO_TABLES = tables("audit", "monte_carlo_{i}", i=MONTE_CARLO["instances"])
MUJOCO_TABLES = tables("audit", "mujoco_{e}_{point}", e=ONE_STEP, point=MUJOCO["points"])
SAMPLED_TABLES = MONTE_CARLO_TABLES + MUJOCO_TABLES
CONVERGENCE_TABLES = tables("convergence", "{problem}", problem=CONVERGENCE["problems"])
TRAINING_TABLES = tables("train", "{run}", run=RUNS)
EVALUATION_TABLES = tables("evaluate", "{run}", run=RUNS)
STUDY_TABLES = tables("train", "{run}", run=STUDY_RUNS)
STUDIED_TABLES = STUDY_TABLES + tables(
    "train",
    RUN,
    environment=config["sample_size_study"]["environment"],
    algorithm=config["sample_size_study"]["algorithms"],
    seed=config["seeds"],
)
TABLES = {  # by the kind that metarl.figures names
    "exact": AUDIT_TABLES,
    "judged": JUDGED_TABLES,
    "sampled": SAMPLED_TABLES,
    "mujoco": MUJOCO_TABLES,
    "convergence": CONVERGENCE_TABLES,
    "training": TRAINING_TABLES,
    "studied": STUDIED_TABLES,
    "evaluation": EVALUATION_TABLES,
    "archived_returns": ARCHIVED_RETURNS,
    **ARCHIVED_PATHS,
}
# a figure of tables that a scale does not have is not drawn
DRAWN = [figure for figure in figures.FIGURES if all(TABLES[kind] for kind in figure.inputs)]


wildcard_constraints:
    environment="[^/]+",
    algorithm="[^/]+",
    sample_size=r"\d+",
    seed=r"\d+",
    instance=r"\d+",
    point="initial|trained",


def run_flags(settings, wildcards):
    """All settings of a run, with the seed of its wildcards."""
    return flags(vars(dataclasses.replace(settings, seed=int(wildcards.seed))))


def of_seeds(wildcards, name):
    """The files of an environment's runs with published settings, one a seed."""
    folder = f"{RESULTS}/published/{wildcards.environment}"
    return expand(f"{folder}/seed_{name}", seed=PUBLISHED[wildcards.environment]["seeds"])
