"""A check of the workflow's configuration that says in one line what is wrong."""

import math
from collections.abc import Mapping
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from metarl.errors import InputError


def check_configuration(config: Mapping, schema: Path, origin: str) -> None:
    """Holds `config` against the JSON schema in the YAML file `schema`.

    Args:
      config: the workflow's configuration.
      schema: path of the schema.
      origin: the file that `config` came from, for the message.

    Raises:
      InputError: the first violation in one line: where, what was given, what is allowed.
    """
    validator = _Validator(yaml.safe_load(Path(schema).read_text()))
    error = min(validator.iter_errors(config), key=lambda error: len(error.path), default=None)
    if error is not None:
        raise InputError(f"{origin}: {_describe(error)}")
    _check_names(config, origin)
    _check_published_numbers(config, origin)


def _check_names(config: Mapping, origin: str) -> None:
    """What refers to environments, algorithms and seeds refers to the configuration's own."""
    study, mujoco = config["sample_size_study"], config["audit"]["mujoco"]
    for key, names, known in (
        ("sample_size_study.environment", [study["environment"]], config["environments"]),
        ("sample_size_study.algorithms", study["algorithms"], config["algorithms"]),
        ("audit.mujoco.algorithm", [mujoco["algorithm"]], config["algorithms"]),
        ("audit.mujoco.seed", [mujoco["seed"]], config["seeds"]),
    ):
        for name in names:
            if name not in known:
                raise InputError(f"{origin}: {key}: got {name!r}; allowed: {_join(list(known))}")


def _check_published_numbers(config: Mapping, origin: str) -> None:
    """As many as inner steps of the evaluation, and one before them: to be told before the runs, not after."""
    for name, run in config["published"].items():
        steps = run["evaluation"]["inner_steps"] + 1
        for key in ("returns", "deviations"):
            if len(run[key]) != steps:
                raise InputError(
                    f"{origin}: published.{name}.{key}: got {len(run[key])} numbers; allowed: {steps}, one an inner step"
                )


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
            return f"{place}: missing key {_join(missing)}; every key must be given"
        case "anyOf":  # an estimator's name
            names, _ = error.validator_value
            allowed = f"{_join(names['enum'])}, or package.module:function"
            return f"{place}: got {error.instance!r}; allowed: {allowed}"
        case "enum":
            return f"{place}: got {error.instance!r}; allowed: {_join(error.validator_value)}"
        case "type":
            given = f"{error.instance!r} ({type(error.instance).__name__})"
            return f"{place}: got {given}; allowed: {error.validator_value}"
        case keyword:
            return f"{place}: got {error.instance!r}; allowed: {keyword} {error.validator_value}"


def _join(names: list) -> str:
    return ", ".join(map(str, names))
