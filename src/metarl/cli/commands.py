"""The commands: typed dataclasses whose fields are flags; each imports its module when it runs."""

import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.errors import InputError, RunError
from metarl.settings import TrainingSettings


def load_tensorflow() -> None:
    """Imports TensorFlow without the lines that it writes past Python's sys.stderr while it loads."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow_probability

        _ = tensorflow_probability.distributions.Normal  # both packages load lazily
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # a shape for each N is meant
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@dataclass(frozen=True)
class Estimators:
    """Prints the catalogue: every estimator with its score weight W and its source."""

    def run(self) -> None:
        load_tensorflow()
        from metarl.estimators.registry import table

        print(table())


@dataclass(frozen=True)
class Identify:
    """Tells which estimator a gradient dumped from any code base comes from. Exit status 1: one has no match."""

    bundles: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="BUNDLE.npz...")
    ]
    """Bundles (.npz); the README lists their keys."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a JSON list of file, dtype, tolerance, matches, differences."""
    tolerance: float = 1e-6
    """Largest relative difference of a match; a float32 bundle gets at least 1e-4."""

    def run(self) -> None:
        if not self.bundles:
            raise InputError("no bundle given; give at least one .npz")
        if not 0 < self.tolerance < 1:
            raise InputError(f"--tolerance is {self.tolerance}; give a number between 0 and 1")
        load_tensorflow()
        from metarl.identify.bundle import read_bundle
        from metarl.identify.compare import compare
        from metarl.identify.text import as_json, describe

        bundles = [read_bundle(path) for path in self.bundles]
        results = [
            compare(path, bundle, self.tolerance)
            for path, bundle in zip(self.bundles, bundles, strict=True)
        ]
        if self.json:
            print(as_json(results))
        else:
            print("\n".join(map(describe, results)))
        unmatched = [result["file"] for result in results if not result["matches"]]
        if unmatched:
            raise RunError(f"no match for {', '.join(unmatched)}")


@dataclass(frozen=True)
class Exact:
    """Exact bias and variance of estimators on a finite problem, by enumeration of every sample."""

    problem: str
    """bandit, chain, windy, stopping or two_steps; or a random instance of one, such as chain-3."""
    estimators: tuple[str, ...]
    """Names of `metarl estimators`."""
    sample_sizes: tuple[int, ...]
    """The inner sample sizes N."""
    output: Path
    """Parquet file: problem, estimator, sample_size, bias, relative_bias, variance, gradient_norm."""

    def run(self) -> None:
        load_tensorflow()
        from metarl.audit.exact import audit

        audit(self.problem, self.estimators, self.sample_sizes, self.output)


@dataclass(frozen=True)
class MonteCarlo:
    """Bias and variance of estimators on random tabular MDPs, by Monte Carlo with sampled batches.

    An interrupted audit goes on from its checkpoint and ends in the same bytes.
    """

    instances: tuple[int, ...]
    """Numbers of the random MDPs."""
    estimators: tuple[str, ...]
    """Names of `metarl estimators`."""
    sample_sizes: tuple[int, ...]
    """The inner sample sizes N."""
    output: Path
    """Parquet file: level, problem, estimator, sample_size, ..., each estimate with its interval."""
    checkpoints: Path
    """Folder of checkpoints."""
    replicates: int = 256
    """R, independent samples at each N."""
    outer_sample_size: int = 256
    """Trajectories of each outer batch, the same for every N."""
    seed: int = 0
    """Seed of the samples; an instance is its number, whatever the seed."""

    def run(self) -> None:
        load_tensorflow()
        from metarl.audit.monte_carlo import Settings, audit

        settings = Settings(self.estimators, self.replicates, self.outer_sample_size, self.seed)
        audit(settings, self.instances, self.sample_sizes, self.checkpoints, self.output)


@dataclass(frozen=True)
class Mujoco:
    """Bias and variance of estimators at a policy of a training run, by simulation with sampled batches.

    An interrupted audit goes on from its checkpoint and ends in the same bytes.
    """

    policy: Path
    """File (.npz) that `metarl train` wrote; it tells environment, horizon and inner loop."""
    estimators: tuple[str, ...]
    """Names of `metarl estimators`."""
    sample_sizes: tuple[int, ...]
    """The inner sample sizes N."""
    output: Path
    """Parquet file: level, problem, estimator, sample_size, ..., each estimate with its interval."""
    checkpoints: Path
    """Folder of checkpoints."""
    point: str = "trained"
    """initial, the policy that the run started from, or trained, the one it ended with."""
    replicates: int = 32
    """R, independent samples at each N."""
    outer_sample_size: int = 20
    """Trajectories of each outer batch and task, the same for every N."""
    tasks: int = 2
    """Tasks whose mean gradient is audited."""
    seed: int = 0
    """Seed of tasks and samples."""
    threads: int = 1
    """Threads of the machine to use; results do not depend on them."""

    def run(self) -> None:
        load_tensorflow()
        from metarl.audit.mujoco import Settings, audit

        settings = Settings(
            policy=self.policy,
            point=self.point,
            estimators=self.estimators,
            replicates=self.replicates,
            outer_sample_size=self.outer_sample_size,
            tasks=self.tasks,
            seed=self.seed,
        )
        audit(settings, self.sample_sizes, self.checkpoints, self.output, self.threads)


@dataclass(frozen=True)
class Convergence:
    """Plain SGD on a finite problem with the exact gradient norm along the way, against N."""

    problem: str
    """bandit, chain or windy; or a random instance of one, such as chain-3."""
    estimators: tuple[str, ...]
    """Names of `metarl estimators`."""
    sample_sizes: tuple[int, ...]
    """The inner sample sizes N."""
    output: Path
    """Parquet file: problem, estimator, sample_size, epsilon, seed, iteration, squared_gradient_norm, ..."""
    step_sizes: tuple[float, ...]
    """The grid from which each estimator, N and epsilon gets the fastest, on seeds of their own."""
    epsilons: tuple[float, ...] = (0.05,)
    """Levels to reach, as fractions of the squared gradient norm at the start."""
    seeds: int = 32
    """Reported runs; as many others choose the step sizes."""
    iterations: int = 2048
    """Of every run."""
    ridge: float = 0.1
    """F(theta) = J_N(theta) - ridge ||theta||^2 / 2 is what ascends."""
    seed: int = 0
    """Of all random streams."""

    def run(self) -> None:
        load_tensorflow()
        from metarl.audit.convergence import Settings, converge

        settings = Settings(
            step_sizes=self.step_sizes,
            epsilons=self.epsilons,
            seeds=self.seeds,
            iterations=self.iterations,
            ridge=self.ridge,
            seed=self.seed,
        )
        converge(self.problem, self.estimators, self.sample_sizes, settings, self.output)


@dataclass(frozen=True)
class Train:
    """Meta-trains one run. An interrupted run goes on from its checkpoint and ends in the same bytes."""

    settings: tyro.conf.OmitArgPrefixes[TrainingSettings]
    output: Path
    """Parquet file of the learning curve."""
    policy: Path
    """File (.npz) of the final policy."""
    checkpoints: Path
    """Folder of checkpoints."""
    tensorboard: Path | None = None
    """Folder of TensorBoard scalars."""
    threads: int = 1
    """Threads of the machine to use; results do not depend on them."""

    def run(self) -> None:
        load_tensorflow()
        from metarl.training.train import train

        train(
            self.settings,
            self.output,
            self.policy,
            self.checkpoints,
            self.tensorboard,
            self.threads,
        )


@dataclass(frozen=True)
class Evaluate:
    """Returns on held-out tasks after 0, 1, 2, ... inner steps of a trained policy."""

    policy: Path
    """File (.npz) that `metarl train` wrote."""
    output: Path
    """Parquet file: algorithm, environment, estimator, seed, task, inner_step, mean_return."""
    tasks: int = 20
    """K, held-out tasks."""
    trajectories: int = 20
    """N, trajectories a task and inner step."""
    inner_steps: int = 3
    """The most inner steps."""
    later_step_scale: float = 1.0
    """What the second and later inner steps multiply the inner learning rate by."""
    paths: Path | None = None
    """Parquet file of where the bodies went."""
    threads: int = 1
    """Threads of the machine to use; results do not depend on them."""

    def run(self) -> None:
        load_tensorflow()
        from metarl.evaluation import evaluate

        evaluate(
            self.policy,
            self.output,
            self.tasks,
            self.trajectories,
            self.inner_steps,
            self.later_step_scale,
            self.paths,
            self.threads,
        )


@dataclass(frozen=True)
class Archive:
    """Keeps runs with published settings: returns beside the published ones, curves, paths, and where they came from."""

    evaluations: tuple[Path, ...]
    """Parquet files of `evaluate`, a seed each."""
    curves: tuple[Path, ...]
    """Parquet files of `train`, likewise."""
    policies: tuple[Path, ...]
    """Policies (.npz) of `train`, likewise."""
    benchmarks: tuple[Path, ...]
    """Snakemake's benchmark files (.tsv) of `train`, likewise."""
    paths: Path
    """Parquet file of `evaluate --paths`, of one seed."""
    published_returns: tuple[float, ...]
    """Published mean over tasks after 0, 1, 2, ... inner steps."""
    published_deviations: tuple[float, ...]
    """Published standard deviations over tasks."""
    source: str
    """Where the published numbers stand."""
    output: Path
    """Folder."""

    def run(self) -> None:
        from metarl.published import archive

        archive(**vars(self))


@dataclass(frozen=True)
class Figure:
    """Draws one figure as STEM.svg and STEM.png (and a table, STEM.md) from tidy parquet files."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """exact_audit, sampled_audit, estimator_matrix, published_code, budget, convergence, learning_curves, sample_sizes, adaptation, published_returns, point_paths or torso_positions."""
    inputs: tuple[Path, ...]
    """Parquet files that the figure shows: see the module of its name in metarl.figures."""
    output: Path
    """The pictures' path without ending."""

    def run(self) -> None:
        from metarl.figures import draw

        draw(self.name, self.inputs, self.output)


@dataclass(frozen=True)
class Claims:
    """Holds the claims against their declared criteria; writes claims.md and claims.json."""

    criteria: str
    """The criteria as a JSON object, as declared in the configuration."""
    output: Path
    """Folder of claims.md and claims.json."""
    audit: tuple[Path, ...] = ()
    """Parquet files of `audit exact`."""
    sampled: tuple[Path, ...] = ()
    """Parquet files of `audit monte-carlo` and `audit mujoco`."""
    convergence: tuple[Path, ...] = ()
    """Parquet files of `convergence`."""
    training: tuple[Path, ...] = ()
    """Parquet files of `train`."""
    study: tuple[Path, ...] = ()
    """Parquet files of `train` at other inner sample sizes."""
    evaluation: tuple[Path, ...] = ()
    """Parquet files of `evaluate`."""
    published: tuple[Path, ...] = ()
    """Parquet files of returns that `archive` wrote."""
    check: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write nothing; exit status 1 where a verdict or a criterion is not as in the folder's claims.json."""

    def run(self) -> None:
        from metarl.claims import Files, check_claims, write_claims

        try:
            criteria = json.loads(self.criteria)
        except json.JSONDecodeError as error:
            raise InputError(
                f"--criteria is not JSON ({error}); give an object of numbers"
            ) from error
        if not isinstance(criteria, dict):
            raise InputError(f"--criteria is {self.criteria}; give an object of numbers")
        files = Files(
            audit=self.audit,
            sampled=self.sampled,
            convergence=self.convergence,
            training=self.training,
            study=self.study,
            evaluation=self.evaluation,
            published=self.published,
        )
        (check_claims if self.check else write_claims)(criteria, files, self.output)


@dataclass(frozen=True)
class Bench:
    """Measures in one run: raw physics, the vector environment, whole meta-iterations, and what a scale costs."""

    output: Path
    """JSON file."""
    threads: int = os.cpu_count() or 1
    """Of the machine."""
    configuration: Path | None = None
    """Configuration of the workflow whose training runs are costed, in core-hours."""

    def run(self) -> None:
        load_tensorflow()
        from metarl.bench import bench
        from metarl.storage import require_writable, write_text

        require_writable(self.output)
        report = bench(self.threads, self.configuration)
        write_text(json.dumps(report, indent=2) + "\n", self.output)


COMMANDS = {
    "estimators": Estimators,
    "identify": Identify,
    "audit exact": Exact,
    "audit monte-carlo": MonteCarlo,
    "audit mujoco": Mujoco,
    "convergence": Convergence,
    "train": Train,
    "evaluate": Evaluate,
    "archive": Archive,
    "figure": Figure,
    "claims": Claims,
    "bench": Bench,
}
