"""metarl.configuration: the scales fit their schema, and bad settings get one line."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from metarl.configuration import check_configuration
from metarl.errors import InputError

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
SMOKE = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())


@pytest.mark.parametrize("scale", ["config", "smoke", "paper"])
def test_the_scales_fit_the_schema(scale):
    config = yaml.safe_load((ROOT / "config" / f"{scale}.yaml").read_text())
    check_configuration(config, SCHEMA, scale)


@pytest.mark.parametrize("scale", ["config", "smoke", "paper"])
def test_every_key_has_a_why_above_it(scale):
    lines = (ROOT / "config" / f"{scale}.yaml").read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r" *\w+:", line)]
    assert len(keys) > 40
    assert [lines[n] for n in keys if not lines[n - 1].lstrip().startswith("#")] == []


@pytest.mark.parametrize(
    ("keys", "value", "line"),
    [
        (
            ("evaluation", "task"),
            4,
            "evaluation: unknown key task; allowed: tasks, trajectories, inner_steps",
        ),
        (
            ("algorithms", "lsf", "estimator"),
            "LSF",
            "algorithms.lsf.estimator: got 'LSF'; allowed: fomaml, maml, lvc, dice, loaded_dice, ",
        ),
        (
            ("audit", "exact", "estimators"),
            ["lsf", "promp"],
            "audit.exact.estimators.1: got 'promp'; allowed: fomaml, maml, ",
        ),
        (
            ("environments", "Ant"),
            SMOKE["environments"]["PointGoal"],
            "environments: got 'Ant'; allowed: AntDir, AntDir2D, AntGoal, AntVel, HalfCheetahDir, ",
        ),
        (
            ("sample_size_study", "environment"),
            "HalfCheetahVel",
            "sample_size_study.environment: got 'HalfCheetahVel'; allowed: PointGoal, HalfCheetahDir",
        ),
        (
            ("sample_size_study", "algorithms"),
            ["lsf", "dice"],
            "sample_size_study.algorithms: got 'dice'; allowed: lsf, unbiased, maml_trpo",
        ),
        (("seeds",), [0, "1"], "seeds.1: got '1' (str); allowed: integer"),
        (("seeds",), [0, 1.0], "seeds.1: got 1.0 (float); allowed: integer"),
        (("seeds",), 3, "seeds: got 3 (int); allowed: array"),
        (("seeds",), [], "seeds: got []; allowed: minItems 1"),
        (
            ("environments", "PointGoal", "inner_learning_rate"),
            "5e-1",
            "environments.PointGoal.inner_learning_rate: got '5e-1' (str); allowed: number",
        ),
        (
            ("environments", "PointGoal", "discount"),
            float("nan"),
            "environments.PointGoal.discount: got nan (float); allowed: number",
        ),
        (
            ("environments", "PointGoal", "discount"),
            1.5,
            "environments.PointGoal.discount: got 1.5; allowed: maximum 1",
        ),
    ],
)
def test_a_bad_value_is_one_line(keys, value, line):
    config = copy.deepcopy(SMOKE)
    place = config
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(InputError) as caught:
        check_configuration(config, SCHEMA, "my.yaml")
    message = str(caught.value)
    assert message.startswith(f"my.yaml: {line}")
    assert "\n" not in message


def test_published_numbers_one_an_inner_step():
    config = copy.deepcopy(SMOKE)
    name = next(iter(config["published"]))
    config["published"][name]["deviations"].append(1.0)
    with pytest.raises(
        InputError, match=rf"published\.{name}\.deviations: got \d numbers; allowed"
    ):
        check_configuration(config, SCHEMA, "file")


def test_a_missing_key_is_named():
    config = {key: value for key, value in SMOKE.items() if key != "seeds"}
    with pytest.raises(InputError, match="top level: missing key seeds; every key must be given"):
        check_configuration(config, SCHEMA, "my.yaml")


def test_the_schema_allows_what_the_package_has():
    from metarl.audit.problems import PROBLEMS
    from metarl.environments import NAMES
    from metarl.estimators import CATALOGUE

    schema = yaml.safe_load(SCHEMA.read_text())
    definitions = schema["$defs"]
    assert definitions["estimator"]["anyOf"][0]["enum"] == list(CATALOGUE)
    assert definitions["environment"]["enum"] == list(NAMES)
    problems = schema["properties"]["audit"]["properties"]["exact"]["properties"]["problems"]
    assert problems["propertyNames"]["pattern"] == f"^({'|'.join(PROBLEMS)})(-[0-9]+)?$"
