"""The commands: typed dataclasses whose fields are flags; each imports its module when it runs."""

import json
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from metarl.audit.settings import (
    ConvergenceSettings,
    ExactSettings,
    LimitSettings,
    MonteCarloSettings,
    MujocoSettings,
    require_confidence,
)
from metarl.errors import InputError, RunError
from metarl.figures import NAMES
from metarl.results.columns import CONFIDENCE
from metarl.settings import Baseline, TrainingSettings, require, require_list, require_seed


class Command:
    """A command: the flags are fields, checked when it is made."""

    needs_tensorflow: ClassVar[bool] = True

    def run(self) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Estimators(Command):
    """Prints the catalogue: every estimator with its score weight W and its source."""

    def run(self) -> None:
        from metarl.estimators.registry import table

        print(table())


@dataclass(frozen=True)
class Identify(Command):
    """Tells what a gradient dumped from any code base is, or what is wrong with it.

    Exit status 1: one has no match; 2: one is damaged (the others are compared).
    """

    bundles: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="BUNDLE.npz...")
    ]
    """Bundles (.npz); the README lists their keys."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a JSON list: matches, differences, scales, cosines, terms and hints of every file."""
    tolerance: float = 1e-6
    """Largest relative difference of a match; a float32 bundle gets at least 1e-4."""

    def __post_init__(self):
        if not self.bundles:
            raise InputError("no bundle given; give at least one .npz")
        tolerance = self.tolerance
        require(0 < tolerance < 1, "--tolerance", tolerance, "a number between 0 and 1")

    def run(self) -> None:
        from metarl.identify.bundle import read_bundle
        from metarl.identify.compare import compare, failed
        from metarl.identify.text import as_json, describe, legend
        from metarl.progress import announce

        results = []
        for path in self.bundles:
            try:
                bundle = read_bundle(path)
                announce(f"{path}: compiling and comparing ...")
                results.append(compare(path, bundle, self.tolerance))
            except InputError as error:
                results.append(failed(path, error))
                print(f"metarl: {error}", file=sys.stderr, flush=True)
                continue
            if not self.json:
                print(describe(results[-1]), flush=True)
        compared = [result for result in results if "error" not in result]
        if self.json:
            print(as_json(results))
        elif compared:
            print(legend(compared))
        if len(compared) < len(results):
            sys.exit(2)
        unmatched = [result["file"] for result in compared if not result["matches"]]
        if unmatched:
            raise RunError(f"no match for {', '.join(unmatched)}")


@dataclass(frozen=True)
class Exact(Command):
    """Exact bias and variance of estimators on a finite problem, by enumeration of every sample."""

    settings: tyro.conf.OmitArgPrefixes[ExactSettings]
    output: Path
    """Parquet file: problem, estimator, sample_size, bias, variance, ..."""

    def run(self) -> None:
        if self.settings.replicates is not None:
            from metarl.audit.replicates import audit
        elif self.settings.gradient:
            from metarl.audit.black_box import audit
        else:
            from metarl.audit.exact import audit

        audit(self.settings, self.output)


@dataclass(frozen=True)
class Limit(Command):
    """Leading terms of bias and variance as N grows, exact and without enumeration."""

    settings: tyro.conf.OmitArgPrefixes[LimitSettings]
    output: Path
    """Parquet file: problem, estimator, bias_order, bias_coefficient, ..., gradient_norm."""

    def run(self) -> None:
        from metarl.audit.limit import audit

        audit(self.settings, self.output)


@dataclass(frozen=True)
class MonteCarlo(Command):
    """Bias and variance of estimators on random tabular MDPs: sampled inner batches, exact values.

    An interrupted audit goes on from its checkpoint and ends in the same bytes.
    """

    settings: tyro.conf.OmitArgPrefixes[MonteCarloSettings]
    output: Path
    """Parquet file: level, problem, estimator, sample_size, ..., estimates with intervals."""
    checkpoints: Path
    """Folder of checkpoints."""

    def run(self) -> None:
        from metarl.audit.monte_carlo import audit

        audit(self.settings, self.checkpoints, self.output)


@dataclass(frozen=True)
class Mujoco(Command):
    """Bias and variance of estimators at a policy of a training run, by simulation.

    An interrupted audit goes on from its checkpoint and ends in the same bytes.
    """

    settings: tyro.conf.OmitArgPrefixes[MujocoSettings]
    output: Path
    """Parquet file: level, problem, estimator, sample_size, ..., estimates with intervals."""
    checkpoints: Path
    """Folder of checkpoints."""
    threads: int = 1
    """Threads of the machine to use; results do not depend on them."""

    def run(self) -> None:
        from metarl.audit.mujoco import audit

        audit(self.settings, self.checkpoints, self.output, self.threads)


@dataclass(frozen=True)
class Replicates(Command):
    """Variance, and bias against a reference, of gradients dumped from any code base."""

    dumps: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DUMP.npz...")]
    """Files (.npz) of `gradients` [R, P], independent ones of one setting, and optionally
    `reference`, [P], the gradient that they should have as their mean, or [R, P], an unbiased
    estimate of it on each sample."""
    confidence: float = CONFIDENCE
    """Probability content of the intervals."""

    def __post_init__(self):
        require_confidence(self.confidence)

    def run(self) -> None:
        from metarl.audit.replicates import audit_dumps

        audit_dumps(self.dumps, self.confidence)


@dataclass(frozen=True)
class Convergence(Command):
    """Plain SGD on a finite problem with the exact gradient norm along the way, against N."""

    settings: tyro.conf.OmitArgPrefixes[ConvergenceSettings]
    output: Path
    """Parquet file: problem, estimator, sample_size, epsilon, seed, iteration, ..."""

    def run(self) -> None:
        from metarl.convergence import converge

        converge(self.settings, self.output)


@dataclass(frozen=True)
class Train(Command):
    """Meta-trains one run, or runs of several seeds.

    An interrupted run goes on from its checkpoint and ends in the same bytes; so does one that is
    given more iterations than before.
    """

    settings: tyro.conf.OmitArgPrefixes[TrainingSettings]
    output: Path
    """Parquet file of the learning curve."""
    policy: Path
    """File (.npz) of the final policy."""
    checkpoints: Path
    """Folder of checkpoints."""
    seeds: tuple[int, ...] = ()
    """In place of --seed: a run each, one after another, in files whose paths have {seed}."""
    policy_interval: int = 0
    """Also keep the policy every so many iterations, as POLICY_iteration_10.npz; 0: the last."""
    initial_policy: Path | None = None
    """File (.npz) of the policy to start from, of the same network; none: a random policy."""
    tensorboard: Path | None = None
    """Folder of TensorBoard scalars."""
    threads: int = 1
    """Threads of the machine to use; results do not depend on them."""

    def __post_init__(self):
        require(self.policy_interval >= 0, "--policy-interval", self.policy_interval, "one >= 0")
        if not self.seeds:
            return
        require_list("seed", self.seeds)
        for seed in self.seeds:
            require_seed(seed)
        for flag in ("output", "policy", "tensorboard"):
            path = getattr(self, flag)
            allowed = "a path with {seed} in it, since --seeds makes a file of every seed"
            require(path is None or "{seed}" in str(path), f"--{flag}", path, allowed)

    def run(self) -> None:
        from metarl.training.train import RunFiles, train

        def of_seed(path: Path | None, seed: int) -> Path | None:
            return path and Path(str(path).replace("{seed}", str(seed)))

        paths = (self.output, self.policy, self.tensorboard)
        files = [RunFiles(*(of_seed(path, seed) for path in paths)) for seed in self.seeds]
        train(
            self.settings,
            files or [RunFiles(*paths)],
            self.checkpoints,
            self.seeds,
            self.policy_interval,
            self.threads,
            self.initial_policy,
        )


@dataclass(frozen=True)
class Evaluate(Command):
    """Returns on held-out tasks after 0, 1, 2, ... inner steps of trained policies."""

    policy: tuple[Path, ...]
    """Files (.npz) that `metarl train` wrote."""
    output: Path
    """Parquet file: algorithm, environment, estimator, seed, iterations, task, inner_step,
    mean_return."""
    tasks: int = 20
    """K, held-out tasks."""
    trajectories: int = 20
    """N, trajectories a task and inner step."""
    inner_steps: int = 3
    """The most inner steps."""
    later_step_scale: float = 1.0
    """What the second and later inner steps multiply the inner learning rate by."""
    inner_learning_rates: tuple[float, ...] = ()
    """eta of each inner step, the last one of those beyond too; none: the run's."""
    horizon: int | None = None
    """T, steps a trajectory; none: the run's."""
    seed: int | None = None
    """Of held-out tasks and their rollouts; none: the run's."""
    baselines: tuple[Baseline, ...] = ()
    """What does not learn, on the same tasks: random, actions drawn evenly within their bounds;
    oracle, those of who knows the task, where an environment has them."""
    paths: Path | None = None
    """Parquet file of where the bodies went, with the last of the policies."""
    threads: int = 1
    """Threads of the machine to use; results do not depend on them."""

    def __post_init__(self):
        require_list("policy", self.policy)
        if self.baselines:
            require_list("baseline", self.baselines)

    def run(self) -> None:
        from metarl.evaluation import evaluate

        evaluate(**vars(self))


@dataclass(frozen=True)
class Archive(Command):
    """Keeps runs with published settings: curves, and returns beside the published ones."""

    needs_tensorflow: ClassVar[bool] = False

    curves: tuple[Path, ...]
    """Parquet files of `train`, a run each."""
    policies: tuple[Path, ...]
    """Policies (.npz) of `train`, likewise."""
    benchmarks: tuple[Path, ...]
    """Snakemake's benchmark files (.tsv) of the jobs that trained."""
    source: str
    """Where the published results stand."""
    output: Path
    """Folder."""
    evaluations: tuple[Path, ...] = ()
    """Parquet files of `evaluate`, a run each, where numbers were published."""
    paths: Path | None = None
    """Parquet file of `evaluate --paths`, of one seed."""
    published_returns: tuple[float, ...] = ()
    """Published mean over tasks after 0, 1, 2, ... inner steps."""
    published_deviations: tuple[float, ...] = ()
    """Published standard deviations over tasks."""

    def run(self) -> None:
        from metarl.published import archive

        archive(**vars(self))


@dataclass(frozen=True)
class Figure(Command):
    """Draws one figure as STEM.svg and STEM.png (and a table, STEM.md) from tidy parquet files."""

    needs_tensorflow: ClassVar[bool] = False

    name: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="NAME", help=f"One of {', '.join(NAMES)}."),
    ]
    inputs: tuple[Path, ...]
    """Parquet files that the figure shows: see the module of its name in metarl.figures."""
    output: Path
    """The pictures' path without ending."""
    confidence: float = CONFIDENCE
    """Of intervals, where the figure shows any."""

    def run(self) -> None:
        from metarl.figures import draw

        draw(self.name, self.inputs, self.output, self.confidence)


@dataclass(frozen=True)
class Claims(Command):
    """Holds the claims against their declared criteria; writes claims.md and claims.json."""

    needs_tensorflow: ClassVar[bool] = False

    criteria: str | None = None
    """The criteria as a JSON object; without them those of the configuration."""
    configuration: Path = Path("config/config.yaml")
    """Whose criteria, and, where no file is given either, whose run's tables."""
    output: Path | None = None
    """Folder of claims.md and claims.json; with --check by default paper_figures."""
    exact: tuple[Path, ...] = ()
    """Parquet files of `audit exact`."""
    limit: tuple[Path, ...] = ()
    """Parquet files of `audit limit`."""
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
    comparison: tuple[Path, ...] = ()
    """Parquet files of the curves of a published comparison that `archive` wrote."""
    check: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write nothing; exit status 1 where a verdict or a criterion is not as in claims.json."""

    def __post_init__(self):
        if not (self.check or self.output):
            raise InputError("missing --output; see metarl claims --help")

    def run(self) -> None:
        from metarl.claims import Files, check_claims, write_claims
        from metarl.configuration import claim_tables, read_configuration

        files = Files(**{kind.name: getattr(self, kind.name) for kind in fields(Files)})
        if self.criteria is None:
            config = read_configuration(self.configuration)
            criteria = config["claims"]
            files = Files(**claim_tables(config)) if files == Files() else files
        else:
            criteria = json_object("--criteria", self.criteria)
        judge = check_claims if self.check else write_claims
        judge(criteria, files, self.output or Path("paper_figures"))


@dataclass(frozen=True)
class Stability(Command):
    """Holds verdicts of several base seeds beside each other, as a table in Markdown."""

    needs_tensorflow: ClassVar[bool] = False

    claims: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="CLAIMS.json...")
    ]
    """Files that `claims` wrote, each of another base_seed."""
    output: Path
    """Markdown file."""

    def run(self) -> None:
        from metarl.claims.stability import stability

        stability(self.claims, self.output)


@dataclass(frozen=True)
class Film(Command):
    """Films a policy on held-out tasks before and after an inner step, as an animated picture."""

    policy: Path
    """Policy (.npz) of `train`."""
    output: Path
    """WebP file; a task a row, before adaptation on the left."""
    tasks: int = 2
    """How many."""
    seed: int = 0
    """Of tasks and rollouts."""

    def run(self) -> None:
        from metarl.film import film

        film(**vars(self))


@dataclass(frozen=True)
class Page(Command):
    """Writes the report as one page for a browser: verdicts, charts, figures, settings."""

    needs_tensorflow: ClassVar[bool] = False

    figures: Path
    """Folder of the pictures of `figure`, each under its own name; those that exist are shown."""
    claims: Path
    """File claims.json of `claims`."""
    scale: str
    """Name of the scale, for the reader."""
    output: Path
    """HTML file."""
    training: tuple[Path, ...] = ()
    """Parquet files of `train`, for the learning curves."""
    exact: tuple[Path, ...] = ()
    """Parquet files of `audit exact`, for the charts of bias and variance."""
    films: tuple[Path, ...] = ()
    """Animated pictures of `film`, each named after its environment."""
    benchmarks: Path | None = None
    """Folder of Snakemake's benchmark files (.tsv), for the processor time."""
    settings: str = ""
    """The whole configuration as text, shown as it is."""
    banner: str = ""
    """A warning at the top."""

    def run(self) -> None:
        from metarl.report_page import write_page

        write_page(**vars(self))


@dataclass(frozen=True)
class Bench(Command):
    """Measures raw physics, the vector environment, meta-iterations, and what a scale costs."""

    output: Path
    """JSON file."""
    threads: int = os.cpu_count() or 1
    """Of the machine."""
    configuration: Path | None = None
    """Configuration of the workflow whose training runs are costed, in core-hours."""

    def run(self) -> None:
        from metarl.bench import bench
        from metarl.storage import require_writable, write_text

        require_writable(self.output, inputs=[self.configuration] if self.configuration else [])
        report = bench(self.threads, self.configuration)
        write_text(json.dumps(report, indent=2) + "\n", self.output)


def json_object(flag: str, text: str) -> dict:
    """The JSON object that a flag was given.

    Raises:
      InputError: it is no JSON, or no object.
    """
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{flag} is not JSON ({error}); give an object of numbers") from error
    if not isinstance(given, dict):
        raise InputError(f"{flag} is {text}; give an object of numbers")
    return given


COMMANDS: dict[str, type[Command]] = {
    "estimators": Estimators,
    "identify": Identify,
    "audit exact": Exact,
    "audit limit": Limit,
    "audit monte-carlo": MonteCarlo,
    "audit mujoco": Mujoco,
    "audit replicates": Replicates,
    "convergence": Convergence,
    "train": Train,
    "evaluate": Evaluate,
    "archive": Archive,
    "figure": Figure,
    "claims": Claims,
    "stability": Stability,
    "film": Film,
    "page": Page,
    "bench": Bench,
}
