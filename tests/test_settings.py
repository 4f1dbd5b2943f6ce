"""Settings: what is allowed is taken as it is, and everything else is refused by name."""

import dataclasses
import math

import numpy as np
import pytest

from metarl.errors import InputError
from metarl.settings import AdvantageSettings, InnerSettings, TrainingSettings, require

REQUIRED = {"environment": "PointGoal", "estimator": "lsf", "algorithm": "lsf_vpg"}
COUNTS = ("iterations", "tasks", "trajectories", "horizon", "inner_steps", "outer_epochs")
POSITIVE = ("inner_learning_rate", "outer_learning_rate", "clip", "trust_region")

INVALID = [
    ("environment", "Ant"),
    ("environment", "metarl/PointGoal-v0"),
    ("averaging", "mean"),
    ("outer_optimizer", "sgd"),
    ("activation", "elu"),
    ("state_weighting", "none"),
    *((name, value) for name in COUNTS for value in (0, -3)),
    ("seed", -1),
    ("seed", 2**63),
    ("hidden_sizes", (0,)),
    ("hidden_sizes", (64, -1)),
    *((name, value) for name in POSITIVE for value in (0.0, -0.1, math.inf, math.nan)),
    *(("discount", value) for value in (0.0, -0.5, 1.01, math.nan)),
    *(("gae_lambda", value) for value in (-0.01, 1.01, math.nan)),
    *(("inner_kl_coefficient", value) for value in (-0.1, math.inf, math.nan)),
    *(("inner_kl_target", value) for value in (-0.1, math.inf, math.nan)),
    ("environment", 3),
    ("estimator", None),
    ("algorithm", 1.5),
    ("averaging", None),
    ("seed", 1.0),
    *(("fisher_stride", value) for value in (0, -1, 101, 1.0, "1", True, None)),  # of 100 steps
    *(("left_out", value) for value in (-1, 21, 1.0, "1", True, None)),  # of 20 trajectories
    *((name, value) for name in COUNTS for value in (2.0, "2", True, None)),
    *((name, value) for name in POSITIVE for value in ("1e-3", True, None)),
    *(("hidden_sizes", value) for value in (64, "64", None, (64.0,), (True,))),
]

BOUNDARIES = [
    *((name, 1) for name in COUNTS),
    ("seed", 0),
    ("seed", 2**63 - 1),
    ("hidden_sizes", ()),
    ("hidden_sizes", (1,)),
    *((name, 1e-12) for name in POSITIVE),
    ("fisher_stride", 1),
    ("fisher_stride", 100),
    ("left_out", 0),
    ("left_out", 20),
    ("discount", 1.0),
    ("discount", 1e-6),
    ("gae_lambda", 0.0),
    ("gae_lambda", 1.0),
    ("inner_kl_coefficient", 0.0),
    ("averaging", "trajectories"),
    ("clip", 1),
    ("tasks", np.int64(3)),
    ("hidden_sizes", [64, 64]),
]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_an_invalid_value_is_named_in_one_line(name, value):
    with pytest.raises(InputError) as error:
        TrainingSettings(**{**REQUIRED, name: value})
    message = str(error.value)
    assert "\n" not in message
    assert name in message
    assert str(value) in message
    assert "; give " in message or "; choose " in message


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("outer_epochs", {"outer_optimizer": "trpo", "outer_epochs": 2}),
        ("inner_kl_coefficient", {"outer_optimizer": "trpo", "inner_kl_coefficient": 0.1}),
        ("inner_kl_coefficient", {"inner_kl_target": 0.1}),
    ],
)
def test_settings_that_do_not_go_together(name, values):
    with pytest.raises(InputError, match=rf"{name}.*; give "):
        TrainingSettings(**REQUIRED, **values)


@pytest.mark.parametrize(("name", "value"), BOUNDARIES)
def test_the_ends_of_what_is_allowed(name, value):
    assert getattr(TrainingSettings(**{**REQUIRED, name: value}), name) == value


@pytest.mark.parametrize("name", ["HalfCheetahDir", "HalfCheetahVel", "PointGoal"])
def test_every_environment_is_allowed(name):
    assert TrainingSettings(**{**REQUIRED, "environment": name}).environment == name


def test_every_number_has_an_invalid_value_above():
    """A setting that is added without a check, or a check without a test, shows up here."""
    assert {name for name, _ in INVALID} == {
        field.name for field in dataclasses.fields(TrainingSettings)
    }


def test_parts_of_the_settings():
    settings = TrainingSettings(
        **REQUIRED,
        inner_learning_rate=0.2,
        averaging="trajectories",
        discount=0.9,
        gae_lambda=0.8,
    )
    assert settings.inner == InnerSettings(learning_rate=0.2, averaging="trajectories")
    assert settings.advantage == AdvantageSettings(discount=0.9, gae_lambda=0.8)


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingSettings(**REQUIRED).seed = 1


def test_require():
    require(True, "clip", 0.3, "a positive number")
    with pytest.raises(InputError, match=r"^clip is -1; give a positive number$"):
        require(False, "clip", -1, "a positive number")
