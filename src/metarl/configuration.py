"""The workflow's configuration: read, extended, checked, and made into the settings of its runs.

A file that states `extends: other.yaml` (a path relative to itself) replaces the sections that it
names, the keys at the top level, whole, and inherits the rest. The settings of a run are
`training_defaults`, over them those of its environment or published run, and over those its
algorithm's. Imports no TensorFlow.
"""

import ast
import contextlib
import dataclasses
import functools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from metarl import environments, figures, plug_ins
from metarl.audit.memory import require_convergence, require_monte_carlo, require_mujoco
from metarl.audit.settings import (
    MOST_ALONG,
    MOST_ENUMERATED,
    ConvergenceSettings,
    ExactSettings,
    MonteCarloSettings,
    MujocoSettings,
    distinct_samples,
)
from metarl.errors import InputError, shortened
from metarl.memory import SIZES, require_training
from metarl.settings import TrainingSettings, require
from metarl.storage import require_writable

SCHEMA = Path(__file__).parents[2] / "workflow" / "schemas" / "config.schema.yaml"
CHAIN = "chain"  # the problem whose exact audit the figure estimator_matrix shows
NO_SETTINGS = ("seeds", "audit")  # of an environment, but not of a run
MUJOCO_PARTS = ("rates", "bias")  # of the audit in simulation: each has its own N
PUBLISHED_ALGORITHM = {"estimator": "maml", "algorithm": "maml_trpo"}
SHARED_LOSSES = ("", "likelihood_ratio", "rewards_to_go")  # inner ones, of one theta'
KEYWORDS = {  # of a JSON schema, in words
    "uniqueItems": "each once",
    "minItems": "at least {} of them",
    "minProperties": "at least {} of them",
    "minimum": "numbers from {}",
    "maximum": "numbers up to {}",
    "exclusiveMinimum": "numbers above {}",
    "pattern": "what matches {}",
}
DEFAULTS = {  # of the settings that a configuration states; the others are a run's identity
    field.name: field.default
    for field in dataclasses.fields(TrainingSettings)
    if field.name not in ("environment", "estimator", "algorithm", "seed")
}


def read_configuration(path: Path, overrides: Mapping[str, object] | None = None) -> dict:
    """The configuration in the file `path`, merged with what it extends, and checked.

    Args:
      path: a YAML file.
      overrides: sections that replace the file's, as of `snakemake --config`.

    Returns:
      The sections by key; those of `environments` state every setting, for captions to quote, and
      `figures` is where none is given the folder of that name among the results.

    Raises:
      InputError: a file that cannot be read or extended, or a setting that cannot run, in one line:
        the file, the key, what was given, what is allowed.
    """
    sections = _sections(Path(path), ())
    sections |= {key: (value, Path("--config")) for key, value in (overrides or {}).items()}
    config = {key: value for key, (value, _) in sections.items()}
    try:
        _check(config)
    except InputError as error:
        section = re.match(r"\w*", str(error))[0]
        _, file = sections.get(section, (None, path))
        raise InputError(f"{_shown(file)}: {error}") from None
    config.setdefault("figures", f"{config['results']}/figures")
    whole = DEFAULTS | config.get("training_defaults", {})
    environments = {name: whole | stated for name, stated in config["environments"].items()}
    return config | {"environments": environments}


def require_scale(config: Mapping, path: Path) -> None:
    """Raises InputError unless a configuration is that of a file, wherever its results stand."""
    other = read_configuration(path)
    differing = [
        key
        for key in {**other, **config}
        if key not in ("results", "figures") and config.get(key) != other.get(key)
    ]
    if differing:
        raise InputError(
            f"paper_figures shows what {_shown(path)} gives, and {_join(differing)} of this"
            f" configuration are others; leave them out, or copy {config['figures']} to a folder of"
            " yours"
        )


def require_compared(config: Mapping) -> None:
    """Raises InputError unless a configuration trains what the published comparison is of."""
    missing = [name for name in config["comparison"] if name not in config["environments"]]
    if missing:
        raise InputError(
            f"comparison archives runs in {_join(config['comparison'])}, and {_join(missing)} is no"
            " environment of this configuration; give --configfile config/promp.yaml"
        )


def seeds(config: Mapping, environment: str) -> list[int]:
    """The seeds of an environment's runs: its own or those of all, moved by base_seed."""
    stated = config["environments"][environment].get("seeds", config["seeds"])
    return [config.get("base_seed", 0) + seed for seed in stated]


def training_runs(config: Mapping) -> dict[tuple[str, str], TrainingSettings]:
    """The settings of every (environment, algorithm), of seed 0.

    In an environment all take as many environment steps: what is simulated again for left_out costs
    iterations.

    Raises:
      InputError: an unknown setting, or settings that cannot run.
    """
    runs = {
        (environment, algorithm): _run(
            config,
            {
                f"environments.{environment}": {
                    key: value for key, value in settings.items() if key not in NO_SETTINGS
                },
                f"algorithms.{algorithm}": row.get("settings", {}),
            },
            environment=environment,
            estimator=row["estimator"],
            algorithm=algorithm,
        )
        for environment, settings in config["environments"].items()
        for algorithm, row in config["algorithms"].items()
    }
    return {key: _without_more_steps(run) for key, run in runs.items()}


def _without_more_steps(run: TrainingSettings) -> TrainingSettings:
    """With as many iterations as take the environment steps that it would without left_out."""
    plain = dataclasses.replace(run, left_out=0)
    iterations = run.iterations * plain.rollouts_an_iteration // run.rollouts_an_iteration
    return dataclasses.replace(run, iterations=max(iterations, 1))


def study_runs(config: Mapping) -> dict[tuple[str, str, int], TrainingSettings]:
    """The settings of every (environment, algorithm, N) of the sample-size study, of seed 0.

    N trajectories, and as many environment steps in all as the algorithm takes at its own N.

    Raises:
      InputError: an N that leaves no iteration, or that is the environment's own.
    """
    study, runs = config["sample_size_study"], training_runs(config)
    environment, studied = study["environment"], {}
    for algorithm in study["algorithms"]:
        run = runs[environment, algorithm]
        budget = run.iterations * run.trajectories
        for sample_size in study["trajectories"]:
            if sample_size > budget or sample_size == run.trajectories:
                raise InputError(
                    f"sample_size_study.trajectories: got {sample_size}; allowed: up to {budget}, "
                    f"the trajectories of all {run.iterations} iterations of {environment}, and "
                    f"not its own {run.trajectories}"
                )
            studied[environment, algorithm, sample_size] = dataclasses.replace(
                run, trajectories=sample_size, iterations=budget // sample_size
            )
            with _at("sample_size_study.trajectories"):
                require_training(studied[environment, algorithm, sample_size])
    return studied


def simulated_audit(config: Mapping, environment: str, part: str) -> dict:
    """The flags of `metarl audit mujoco` for one of MUJOCO_PARTS, with those of the environment."""
    mujoco, place = config["audit"]["mujoco"], config["environments"][environment].get("audit", {})
    shared = {key: mujoco[key] for key in ("tasks", "pilot", "precision")}
    own = {key: value for key, value in place.items() if key not in MUJOCO_PARTS}
    return shared | mujoco[part] | own | place.get(part, {})


def published_runs(config: Mapping) -> dict[str, TrainingSettings]:
    """The settings of the runs with published settings, by environment, of seed 0.

    Raises:
      InputError: an unknown setting, or settings that cannot run.
    """
    return {
        environment: _run(
            config,
            {f"published.{environment}.settings": run["settings"]},
            environment=environment,
            **PUBLISHED_ALGORITHM,
        )
        for environment, run in config["published"].items()
    }


def published_evaluations(config: Mapping) -> dict[str, dict]:
    """The flags of `metarl evaluate` for the runs with published settings, by environment."""
    return {
        environment: config["evaluation"] | run.get("evaluation", {})
        for environment, run in config["published"].items()
    }


def exact_jobs(config: Mapping) -> dict[str, list[str]]:
    """The problems of the exact audit, by the first of each job.

    Those of like sample sizes are one job and one table: they share what is compiled.
    """
    problems = config["audit"]["exact"]["problems"]
    jobs = (
        [name for name, settings in problems.items() if settings == kind]
        for kind in problems.values()
    )
    return {names[0]: names for names in jobs}


def claim_tables(config: Mapping, archive: str = "archive") -> dict[str, list[str]]:
    """The parquet files that claims rest on, by the flag of `metarl claims`.

    Args:
      config: as `read_configuration` returns it.
      archive: folder of what is kept of published runs; those that are there count.
    """
    results, mujoco, runs = config["results"], config["audit"]["mujoco"], training_runs(config)
    problems = config["audit"]["exact"]["problems"]
    simulated = [
        environment
        for (environment, algorithm), run in runs.items()
        if algorithm == mujoco["algorithm"] and run.inner_steps == 1
    ]

    def kept(kind: str, environments: Iterable[str]) -> list[str]:
        paths = [f"{archive}/{environment}_{kind}.parquet" for environment in environments]
        return [path for path in paths if Path(path).exists()]

    def of_seeds(environment: str, folder: str) -> list[str]:
        of_run = f"{results}/train/{environment}/{folder}"
        return [f"{of_run}/seed_{seed}.parquet" for seed in seeds(config, environment)]

    return {
        "exact": [
            f"{results}/audit/exact_{name}.parquet"
            for name in exact_jobs(config)
            if problems[name]["judged"]
        ],
        "limit": [f"{results}/audit/limit.parquet"],
        "sampled": [
            f"{results}/audit/monte_carlo.parquet",
            *(
                f"{results}/audit/mujoco_{environment}_{point}_{part}.parquet"
                for environment in simulated
                for point in mujoco["points"]
                for part in MUJOCO_PARTS
            ),
        ],
        "convergence": [
            f"{results}/convergence/{name}.parquet" for name in config["convergence"]["problems"]
        ],
        "training": [path for run in runs for path in of_seeds(*run)],
        "study": [
            path for e, a, size in study_runs(config) for path in of_seeds(e, f"{a}/N{size}")
        ],
        "evaluation": [f"{results}/evaluate/{e}/{a}.parquet" for e, a in runs],
        "published": kept("returns", config["published"]),
        "comparison": kept("curves", config["comparison"]),
    }


def flags(settings: Mapping[str, object], omit: Collection[str] = ()) -> str:
    """{"inner_steps": 1, "hidden_sizes": [64, 64]} is --inner-steps 1 --hidden-sizes 64 64."""
    words = []
    for key, value in settings.items():
        if key in omit:
            continue
        words.append(f"--{key.replace('_', '-')}")
        words.extend(map(str, value if isinstance(value, list | tuple) else [value]))
    return " ".join(words)


def _run(config: Mapping, layers: Mapping[str, Mapping], **identity: str) -> TrainingSettings:
    """A run's settings: those of each layer, by its place, over those of the one before."""
    layers = {"training_defaults": config.get("training_defaults", {}), **layers}
    settings = {}
    for place, layer in layers.items():
        _require_known(place, layer, DEFAULTS)
        settings |= layer
    try:
        run = TrainingSettings(
            **identity,
            **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()},
        )
        environments.sizes(run.environment)  # it can be made
    except InputError as error:
        setting = str(error).partition(" ")[0]  # a comma after it: one of several that clash
        stating = [place for place, layer in layers.items() if setting in layer]
        _, first, *others = layers
        several = [first, *(place for place in others if layers[place])]
        raise InputError(f"{' with '.join(stating[-1:] or several)}: {error}") from None
    with _at(" with ".join(place for place, layer in layers.items() if layer.keys() & SIZES)):
        require_training(run)
    return run


# --- reading -----------------------------------------------------------------------------------


def _sections(path: Path, extending: tuple[Path, ...]) -> dict[str, tuple[object, Path]]:
    """Every section with the file that states it; `extending` are the files that led here."""
    config = load(path)
    own = {key: (value, path) for key, value in config.items() if key != "extends"}
    if "extends" not in config:
        return own
    given = config["extends"]
    base = path.parent / given if isinstance(given, str) else path.parent
    if not base.is_file():
        raise InputError(
            f"{_shown(path)}: extends: got {given!r}; allowed: the path of a file, relative to "
            f"{_shown(path.parent)}/"
        )
    extending = (*extending, path.resolve())
    if base.resolve() in extending:
        raise InputError(
            f"{_shown(path)}: extends: got {given!r}, which extends this file; allowed: one that "
            "does not"
        )
    return _sections(base, extending) | own


def load(path: Path) -> dict:
    """The mapping in a YAML file."""
    try:
        text = path.read_text(encoding="utf-8")
        config = yaml.load(text, _Loader)
    except OSError as error:
        raise InputError(
            f"{_shown(path)}: {error.strerror}; give a file such as config/config.yaml"
        ) from None
    except yaml.YAMLError as error:
        raise InputError(f"{_shown(path)}, {_yaml_fault(error, text)}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{_shown(path)}: no YAML ({error}); give UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # a date that does not exist; ten thousand [
        fault = shortened(str(error))
        raise InputError(f"{_shown(path)}: no YAML ({fault}); give what YAML can hold") from None
    if not isinstance(config, dict) or not config:
        kind = "no settings" if not config else f"a {type(config).__name__}"
        raise InputError(f"{_shown(path)}: holds {kind}; allowed: keys with their values")
    return config


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping states twice, of which YAML's own takes the last in silence."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node, keys = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if str(key.value) in keys:
                problem = f"the key {key.value} stands there twice"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            keys.add(str(key.value))
        return node


def _yaml_fault(error: yaml.YAMLError, text: str) -> str:
    """Where and what, in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # a character that YAML does not know
        line, problem = text.count("\n", 0, error.position) + 1, error.reason
    else:
        line, problem = mark.line + 1, error.problem
    return f"line {line}: no YAML ({problem}); mend the line, or the one before"


def _shown(path: Path) -> Path:
    """As short as it goes: Snakemake makes its paths absolute."""
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# --- checking ----------------------------------------------------------------------------------


def _check(config: Mapping) -> None:
    """Raises InputError, of which the first word is the section, for what cannot run."""
    validator = _Validator(yaml.safe_load(SCHEMA.read_text()))
    error = min(validator.iter_errors(config), key=lambda error: len(error.path), default=None)
    if error is not None:
        raise InputError(_describe(error))
    _check_folders(config)
    _check_estimators(config)
    training_runs(config)
    _check_names(config)
    study_runs(config)
    _check_audits(config)
    _check_simulated(config)
    _check_published(config)
    _check_claims(config)
    _check_commands(config)


def _check_folders(config: Mapping) -> None:
    for key in config.keys() & {"results", "figures"}:
        try:
            require_writable(Path(config[key], "file"))
        except InputError:
            raise InputError(
                f"{key}: got {config[key]!r}, where nothing can be written; allowed: a folder that"
                " takes new files, or one that can be made"
            ) from None


def _check_estimators(config: Mapping) -> None:
    """Every estimator is in the catalogue, or can be imported."""
    audits, losses = config["audit"], estimator_losses()
    named = {
        f"algorithms.{name}.estimator": [row["estimator"]]
        for name, row in config["algorithms"].items()
    }
    named |= {
        f"audit.{place}.estimators": audit["estimators"]
        for place, audit in (
            *((level, audits[level]) for level in ("exact", "monte_carlo")),
            *((f"mujoco.{part}", audits["mujoco"][part]) for part in MUJOCO_PARTS),
        )
    }
    named["convergence.estimators"] = config["convergence"]["estimators"]
    for key, estimators in named.items():
        for name in estimators:
            if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
                _require_plug_in(key, name)
            elif name not in losses:
                raise InputError(
                    f"{key}: got {name!r}; allowed: {_join(losses)}, or package.module:function"
                )
            elif key.startswith("audit.mujoco") and losses[name] not in SHARED_LOSSES:
                raise InputError(
                    f"{key}: got {name!r}, which adapts to a theta' of its own; audit it in "
                    "audit.exact alone"
                )


def _check_names(config: Mapping) -> None:
    """What refers to environments, algorithms and seeds refers to the configuration's own."""
    study, mujoco = config["sample_size_study"], config["audit"]["mujoco"]
    for key, names, known in (
        ("sample_size_study.environment", [study["environment"]], config["environments"]),
        ("sample_size_study.algorithms", study["algorithms"], config["algorithms"]),
        ("audit.mujoco.algorithm", [mujoco["algorithm"]], config["algorithms"]),
        *(
            ("audit.mujoco.seed", [mujoco["seed"]], settings.get("seeds", config["seeds"]))
            for settings in config["environments"].values()
        ),
    ):
        for name in names:
            if name not in known:
                raise InputError(f"{key}: got {name!r}; allowed: {_join(known)}")
    for name in config["comparison"]:
        with _at("comparison"):
            environments.entry_point(name)


def _check_audits(config: Mapping) -> None:
    """Claims and figures have audits to rest on."""
    problems, mujoco = config["audit"]["exact"]["problems"], config["audit"]["mujoco"]
    if not any(settings["judged"] for settings in problems.values()):
        raise InputError(
            "audit.exact.problems: none is judged, and the claims rest on those that are; give "
            "judged: true to at least one"
        )
    if CHAIN not in problems:
        raise InputError(
            f"audit.exact.problems: got {_join(problems)}; the figure estimator_matrix shows "
            f"{CHAIN}, give it too"
        )
    if not any(
        run.inner_steps == 1
        for (_, algorithm), run in training_runs(config).items()
        if algorithm == mujoco["algorithm"]
    ):
        raise InputError(
            f"audit.mujoco.algorithm: got {mujoco['algorithm']!r}, which no environment trains "
            "with inner_steps 1, what the audit in simulation is of; give it one that does"
        )


def _check_simulated(config: Mapping) -> None:
    """The tables of the audits in simulation have each N once."""
    for environment in config["environments"]:
        rates, bias = (
            set(simulated_audit(config, environment, part)["sample_sizes"]) for part in MUJOCO_PARTS
        )
        if rates & bias:
            raise InputError(
                f"audit.mujoco.bias.sample_sizes: got {_join(sorted(rates & bias))}, which the"
                f" rates of {environment} have too; allowed: others, a table has each N once"
            )


def _check_published(config: Mapping) -> None:
    """Published numbers are one an inner step, and one before them."""
    published_runs(config)
    for name, evaluation in published_evaluations(config).items():
        run, steps = config["published"][name], evaluation["inner_steps"] + 1
        for key in ("returns", "deviations"):
            if len(run[key]) != steps:
                raise InputError(
                    f"published.{name}.{key}: got {len(run[key])} numbers; allowed: {steps}, one "
                    "an inner step and one before them"
                )
        if "figure" in run and run["figure"] not in figures.NAMES:
            raise InputError(
                f"published.{name}.figure: got {run['figure']!r}; allowed: {_join(figures.NAMES)}"
            )


def _check_claims(config: Mapping) -> None:
    from metarl.claims.criteria import read_criteria  # takes pandas and SciPy along

    with _at("claims"):
        read_criteria(config["claims"])


def _check_commands(config: Mapping) -> None:
    """What the commands themselves check of their settings, before they load TensorFlow."""
    audits, experiment = config["audit"], config["convergence"]
    for name, problem in audits["exact"]["problems"].items():
        with _at(f"audit.exact.problems.{name}"):
            sizes = problem["sample_sizes"]
            ExactSettings(
                problem=(name,), estimators=audits["exact"]["estimators"], sample_sizes=sizes
            )
            _require_enumerable(name, sizes, MOST_ENUMERATED)
    with _at("audit.monte_carlo"):
        require_monte_carlo(MonteCarloSettings(**audits["monte_carlo"]))
    for (environment, algorithm), run in training_runs(config).items():
        for part in MUJOCO_PARTS if algorithm == audits["mujoco"]["algorithm"] else ():
            with _at(f"audit.mujoco.{part}"):
                simulated = simulated_audit(config, environment, part)
                require_mujoco(MujocoSettings(policy=Path(), **simulated), run)
        with _at("evaluation"):
            require_training(_evaluated(run, config["evaluation"]))
    evaluations = published_evaluations(config)
    for name, run in published_runs(config).items():
        with _at(f"published.{name}.evaluation"):
            require_training(_evaluated(run, evaluations[name]))
    shared = {k: v for k, v in experiment.items() if k != "problems"}
    for name, own in experiment["problems"].items():
        with _at(f"convergence.problems.{name}"):
            _require_enumerable(name, own["sample_sizes"], MOST_ALONG)
        with _at("convergence"):
            require_convergence(ConvergenceSettings(problem=name, **shared | own))


def _require_enumerable(problem: str, sample_sizes: Sequence[int], most: int) -> None:
    """Raises InputError where the largest N has more than `most` distinct samples."""
    largest = max(sample_sizes)
    number = distinct_samples(problem, largest)
    allowed = f"those of at most {most} distinct samples, where {largest} has {number:.3g}"
    require(number <= most, "sample_sizes", sample_sizes, allowed)


def _evaluated(run: TrainingSettings, evaluation: Mapping) -> TrainingSettings:
    """The settings of a run as `metarl evaluate` takes them."""
    sizes = {key: evaluation[key] for key in ("tasks", "trajectories", "inner_steps")}
    return dataclasses.replace(run, **sizes, iterations=1)


@contextlib.contextmanager
def _at(place: str) -> Iterator[None]:
    """Puts the place in the configuration before what is wrong there."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _require_known(place: str, given: Mapping, known: Collection[str]) -> None:
    unknown = [key for key in given if key not in known]
    if unknown:
        raise InputError(f"{place}: unknown key {_join(unknown)}; allowed: {_join(known)}")


def _is_integer(_, instance: object) -> bool:
    """JSON Schema counts 1.0 as an integer; a file name made of it would not be one."""
    return isinstance(instance, int) and not isinstance(instance, bool)


def _is_number(_, instance: object) -> bool:
    """YAML can write .nan and .inf, which no setting means."""
    return _is_integer(_, instance) or (isinstance(instance, float) and math.isfinite(instance))


_Validator = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


def _describe(error: ValidationError) -> str:
    """One line for a violation of any of the schema's keywords."""
    place = ".".join(map(str, error.absolute_path)) or "top level"
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            unknown = [key for key in error.instance if key not in known]
            return f"{place}: unknown key {_join(unknown)}; allowed: {_join(known)}"
        case "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            return f"{place}: missing key {_join(missing)}; give it, or extend a file that has it"
        case "type":
            given = f"{error.instance!r} ({type(error.instance).__name__})"
            return f"{place}: got {given}; allowed: {error.validator_value}"
        case "enum":
            return f"{place}: got {error.instance!r}; allowed: {_join(error.validator_value)}"
        case keyword:
            allowed = KEYWORDS.get(keyword, keyword).format(error.validator_value)
            return f"{place}: got {error.instance!r}; allowed: {allowed}"


def _join(names: Iterable) -> str:
    return ", ".join(map(str, names))


# --- estimators, ours without importing them ---------------------------------------------------


@functools.cache
def estimator_losses() -> dict[str, str]:
    """The inner loss of every estimator of the catalogue, "" where its row states none.

    Read from the source: importing it takes TensorFlow along.
    """
    folder = Path(__file__).parent / "estimators"
    losses = {}
    for module, suffix in (("catalogue", ""), ("as_coded", "_as_coded")):
        for node in ast.walk(ast.parse((folder / f"{module}.py").read_text())):
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                stated = {field.arg: field.value for field in node.decorator_list[0].keywords}
                loss = stated.get("inner_loss")
                losses[node.name + suffix] = ast.unparse(loss) if loss else ""
    return losses


def _require_plug_in(key: str, name: str) -> None:
    """Raises InputError unless package.module:function is a function.

    People's own is imported, since only that tells; ours are looked up in the source.
    """
    module, _, function = name.partition(":")
    if module.partition(".")[0] != "metarl":
        with _at(key):
            named = plug_ins.load("estimator", name, "package.module:function")
            require(callable(named), "estimator", name, "a function, package.module:function")
    elif function not in _functions(module):
        raise InputError(f"{key}: got {name!r}, but there is no such function; give one")


def _functions(module: str) -> set[str]:
    """The names of the functions that a module of ours defines."""
    path = Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text() if path.is_file() else "")
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
