# The names that the rules share.
import json
import re
from functools import partial
from pathlib import Path

import yaml

import metarl.sources
from metarl import configuration, figures
from metarl.configuration import flags
from metarl.sources import environment_module

# Results go below the working directory, wherever the repository is (--directory, -s): what is read
# of the repository is found beside the Snakefile.
AT_HOME = Path.cwd() == Path(workflow.basedir)
HOME = "" if AT_HOME else f"{workflow.basedir}/"
sources = partial(metarl.sources.sources, root=f"{HOME}src")


def sources_with(estimators, *modules):
    """The source files of modules, and of the estimators that are package.module:function."""
    return sources(*modules, *(name.partition(":")[0] for name in estimators if ":" in name))


RESULTS = config["results"]
FIGURES = config["figures"]
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"

EXACT = config["audit"]["exact"]
MONTE_CARLO = config["audit"]["monte_carlo"]
MUJOCO = config["audit"]["mujoco"]
CONVERGENCE = config["convergence"]
CONFIDENCE = config["claims"]["confidence"]
BASE_SEED = config.get("base_seed", 0)
AUDITED_SEED = BASE_SEED + MUJOCO["seed"]
PUBLISHED = config["published"]
PUBLISHED_RUNS = configuration.published_runs(config)
PUBLISHED_EVALUATIONS = configuration.published_evaluations(config)
KEPT_EVERY = 10  # iterations: the published returns are of one checkpoint, ours of a whole run
TRAINING = configuration.training_runs(config)  # settings by environment and algorithm
STUDY = configuration.study_runs(config)  # and by sample size
ENVIRONMENTS = config["environments"]

# What is kept of the runs with published settings: part of the repository, whatever the scale.
ARCHIVE = f"{HOME}archive"
ARCHIVED_PATHS = {  # by the figure that shows them
    figure: [
        f"{ARCHIVE}/{environment}_paths.parquet"
        for environment in PUBLISHED
        if PUBLISHED[environment].get("figure") == figure
        and Path(ARCHIVE, f"{environment}_returns.parquet").exists()
    ]
    for figure in ("point_paths", "torso_positions")
}

FILMED = next(iter(config["algorithms"]))  # whose first run is filmed

RUN = "{environment}/{algorithm}/seed_{seed}"
STUDY_RUN = "{environment}/{algorithm}/N{sample_size}/seed_{seed}"
SEEDS = {environment: configuration.seeds(config, environment) for environment in ENVIRONMENTS}
STUDIED = config["sample_size_study"]["environment"]


def tables(folder, name, **wildcards):
    return expand(f"{RESULTS}/{folder}/{name}.parquet", **wildcards)


EXACT_JOBS = configuration.exact_jobs(config)
AUDIT_TABLES = tables("audit", "exact_{problem}", problem=EXACT_JOBS)
CLAIMED = configuration.claim_tables(config, ARCHIVE)  # what claims rest on, by kind
(LIMIT_TABLE,) = CLAIMED["limit"]
JUDGED_TABLES = CLAIMED["exact"]
SAMPLED_TABLES = CLAIMED["sampled"]
_, *MUJOCO_TABLES = SAMPLED_TABLES  # the first one is Monte Carlo's
CONVERGENCE_TABLES = CLAIMED["convergence"]
TRAINING_TABLES = CLAIMED["training"]
STUDY_TABLES = CLAIMED["study"]
EVALUATION_TABLES = CLAIMED["evaluation"]
STUDIED_TABLES = STUDY_TABLES + tables(
    "train",
    RUN,
    environment=STUDIED,
    algorithm=config["sample_size_study"]["algorithms"],
    seed=SEEDS[STUDIED],
)
TABLES = {  # by the kind that metarl.figures names
    "exact": AUDIT_TABLES,
    "limit": [LIMIT_TABLE],
    "judged": JUDGED_TABLES,
    "sampled": SAMPLED_TABLES,
    "mujoco": MUJOCO_TABLES,
    "convergence": CONVERGENCE_TABLES,
    "training": TRAINING_TABLES,
    "studied": STUDIED_TABLES,
    "evaluation": EVALUATION_TABLES,
    "archived_returns": CLAIMED["published"],
    "compared": CLAIMED["comparison"],
    **ARCHIVED_PATHS,
}
# a figure of tables that a scale does not have is not drawn
DRAWN = [figure for figure in figures.FIGURES if all(TABLES[kind] for kind in figure.inputs)]
PICTURES = [f"{FIGURES}/{figure.name}.{suffix}" for figure in DRAWN for suffix in figure.formats]
LEDGER = [f"{FIGURES}/claims.md", f"{FIGURES}/claims.json"]


wildcard_constraints:
    environment="[^/]+",
    algorithm="[^/]+",
    sample_size=r"\d+",
    seed=r"\d+",
    point="initial|trained",
    part="|".join(configuration.MUJOCO_PARTS),


def rule_name(environment):
    """An environment's name where letters and digits alone are allowed."""
    return re.sub(r"\W", "_", environment)


def run_settings(wildcards):
    """Of a run at its environment's own inner sample size, or of the study's at another one."""
    key = wildcards.environment, wildcards.algorithm
    if "sample_size" in wildcards.keys():
        return STUDY[*key, int(wildcards.sample_size)]
    return TRAINING[key]


def of_each_seed(output, folder):
    """Where files of a training job's runs are below a folder of the results, with {seed}.

    The seed stands for each run's, the ending is left out; `output` is a run's table.
    """
    place = Path(output[0]).relative_to(f"{RESULTS}/train").with_name("seed_{seed}")
    return f"{RESULTS}/{folder}/{place}"


def of_seeds(wildcards, name):
    """The files of an environment's runs with published settings, one a seed."""
    folder = f"{RESULTS}/published/{wildcards.environment}"
    return expand(f"{folder}/seed_{name}", seed=PUBLISHED[wildcards.environment]["seeds"])


def kept_policies(wildcards):
    """Those along a run, which it writes beside its last one."""
    iterations = PUBLISHED_RUNS[wildcards.environment].iterations
    folder = f"{RESULTS}/published/{wildcards.environment}"
    stem = f"{folder}/seed_{wildcards.seed}_iteration_"
    return [f"{stem}{number}.npz" for number in range(KEPT_EVERY, iterations, KEPT_EVERY)]


def compared_runs(wildcards, ending):
    """The files of all training runs of an environment, in the order of the algorithms."""
    return expand(
        f"{RESULTS}/train/{RUN}.{ending}",
        environment=wildcards.environment,
        algorithm=config["algorithms"],
        seed=SEEDS[wildcards.environment],
    )
