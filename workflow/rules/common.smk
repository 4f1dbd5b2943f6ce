# The configuration, checked, and the names that the rules share.
import json
import sys
from pathlib import Path

from snakemake.logging import logger

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

EXACT = config["audit"]["exact"]

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
TRAINING_TABLES = expand(f"{RESULTS}/train/{{run}}.parquet", run=RUNS)
EVALUATION_TABLES = expand(f"{RESULTS}/evaluate/{{run}}.parquet", run=RUNS)


wildcard_constraints:
    environment="[^/]+",
    algorithm="[^/]+",
    seed=r"\d+",


def run_settings(wildcards):
    """The settings of a run: its environment's, and in their place what its algorithm has of its own."""
    algorithm = config["algorithms"][wildcards.algorithm]
    return {**config["environments"][wildcards.environment], **algorithm.get("settings", {})}


def flags(settings):
    """{"inner_steps": 1, "hidden_sizes": [64, 64]} is --inner-steps 1 --hidden-sizes 64 64."""
    words = []
    for key, value in settings.items():
        words.append(f"--{key.replace('_', '-')}")
        words.extend(map(str, value if isinstance(value, list) else [value]))
    return " ".join(words)
