# The configuration, checked, and the names that the rules share.
import json
import sys
from pathlib import Path

from snakemake.logging import logger

from metarl import figures
from metarl.configuration import check_configuration
from metarl.errors import InputError
from metarl.sources import environment_module, sources

try:
    check_configuration(
        config,
        workflow.source_path("../schemas/config.schema.yaml"),
        origin=", ".join(map(str, workflow.configfiles)),
    )
except InputError as error:
    logger.error(str(error))
    sys.exit(2)

RESULTS = config["results"]
FIGURES = config["figures"]
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"

# What is kept of the runs with published settings: part of the repository, whatever the scale.
ARCHIVE = "paper_figures/published"
ARCHIVED_RETURNS = sorted(map(str, Path(ARCHIVE).glob("*_returns.parquet")))
ARCHIVED_POINTS = sorted(map(str, Path(ARCHIVE).glob("PointGoal*_paths.parquet")))
ARCHIVED_TORSOS = sorted(map(str, Path(ARCHIVE).glob("HalfCheetah*_paths.parquet")))
PUBLISHED = config["published"]

EXACT = config["audit"]["exact"]
MONTE_CARLO = config["audit"]["monte_carlo"]
MUJOCO = config["audit"]["mujoco"]
CONVERGENCE = config["convergence"]

RUN = "{environment}/{algorithm}/seed_{seed}"
RUNS = expand(
    RUN,
    environment=config["environments"],
    algorithm=config["algorithms"],
    seed=config["seeds"],
)
AUDIT_TABLES = expand(f"{RESULTS}/audit/exact_{{problem}}.parquet", problem=EXACT["problems"])
JUDGED_TABLES = expand(
    f"{RESULTS}/audit/exact_{{problem}}.parquet",
    problem=[name for name, settings in EXACT["problems"].items() if settings["judged"]],
)
MONTE_CARLO_TABLES = expand(
    f"{RESULTS}/audit/monte_carlo_{{instance}}.parquet", instance=MONTE_CARLO["instances"]
)
MUJOCO_TABLES = expand(  # the audit is of one inner step
    f"{RESULTS}/audit/mujoco_{{environment}}_{{point}}.parquet",
    environment=[
        name for name, settings in config["environments"].items() if settings["inner_steps"] == 1
    ],
    point=MUJOCO["points"],
)
SAMPLED_TABLES = MONTE_CARLO_TABLES + MUJOCO_TABLES
CONVERGENCE_TABLES = expand(
    f"{RESULTS}/convergence/{{problem}}.parquet", problem=CONVERGENCE["problems"]
)
STUDY = config["sample_size_study"]
STUDY_RUNS = expand(
    "{environment}/{algorithm}_N{trajectories}/seed_{seed}",
    environment=STUDY["environment"],
    algorithm=STUDY["algorithms"],
    trajectories=STUDY["trajectories"],
    seed=config["seeds"],
)
TRAINING_TABLES = expand(f"{RESULTS}/train/{{run}}.parquet", run=RUNS)
STUDY_TABLES = expand(f"{RESULTS}/train/{{run}}.parquet", run=STUDY_RUNS)
STUDIED_TABLES = STUDY_TABLES + expand(
    f"{RESULTS}/train/{RUN}.parquet",
    environment=STUDY["environment"],
    algorithm=STUDY["algorithms"],
    seed=config["seeds"],
)
EVALUATION_TABLES = expand(f"{RESULTS}/evaluate/{{run}}.parquet", run=RUNS)


wildcard_constraints:
    environment="[^/]+",
    algorithm="[^/]+",
    seed=r"\d+",
    instance=r"\d+",
    point="initial|trained",


def of_seeds(wildcards, name):
    """The files of an environment's runs with published settings, one a seed."""
    folder = f"{RESULTS}/published/{wildcards.environment}"
    return expand(f"{folder}/seed_{name}", seed=PUBLISHED[wildcards.environment]["seeds"])


def run_algorithm(wildcards):
    """The algorithm of a run: its own, or of the study's lsf_N5 that of lsf."""
    return config["algorithms"][wildcards.algorithm.partition("_N")[0]]


def run_settings(wildcards):
    """The settings of a run: its environment's, and in their place what its algorithm has of its own.

    The study's lsf_N5 has 5 trajectories, and as many environment steps in all as lsf.
    """
    settings = config["environments"][wildcards.environment] | run_algorithm(wildcards).get(
        "settings", {}
    )
    if size := wildcards.algorithm.partition("_N")[2]:
        trajectories = settings["iterations"] * settings["trajectories"]
        settings |= {"trajectories": int(size), "iterations": trajectories // int(size)}
    return settings


def without(settings, *keys):
    """The settings that a rule passes on as they are."""
    return {key: value for key, value in settings.items() if key not in keys}


def flags(settings):
    """{"inner_steps": 1, "hidden_sizes": [64, 64]} is --inner-steps 1 --hidden-sizes 64 64."""
    words = []
    for key, value in settings.items():
        words.append(f"--{key.replace('_', '-')}")
        words.extend(map(str, value if isinstance(value, list) else [value]))
    return " ".join(words)
