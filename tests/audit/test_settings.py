"""Settings of the audits: what is allowed is taken as it is, everything else is refused by name."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest

from metarl.audit.settings import (
    ConvergenceSettings,
    ExactSettings,
    MonteCarloSettings,
    MujocoSettings,
)
from metarl.errors import InputError

AUDIT = {"estimators": ("lsf", "own:weights"), "sample_sizes": (2, 1)}
VALID = {
    ExactSettings: AUDIT | {"problem": ("chain-3",)},
    MonteCarloSettings: AUDIT | {"instances": (0, 7)},
    MujocoSettings: AUDIT | {"policy": Path("run.npz"), "point": "initial"},
    ConvergenceSettings: AUDIT | {"problem": "bandit", "step_sizes": (0.5, 0.25)},
}
SAMPLED = (MonteCarloSettings, MujocoSettings)
SEEDED = (*SAMPLED, ConvergenceSettings)

INVALID = [
    *((kind, "estimators", (), "no estimator given") for kind in VALID),
    *((kind, "estimators", ("lsf", "lsf"), "given twice among lsf lsf") for kind in VALID),
    *((kind, "sample_sizes", (), "no sample size given") for kind in VALID),
    *((kind, "sample_sizes", (4, 4), "given twice among 4 4") for kind in VALID),
    *((kind, "sample_sizes", (4, 0), "sample size is 0; give an integer >= 1") for kind in VALID),
    *((kind, "replicates", 2, "replicates is 2; give an integer >= 3") for kind in SAMPLED),
    (MonteCarloSettings, "practical_replicates", 2, "practical_replicates is 2; give an integer"),
    (MujocoSettings, "outer_sample_size", 0, "outer_sample_size is 0; give an integer >= 1"),
    *(
        (kind, "confidence", value, f"confidence is {value}; give a number in (0, 1)")
        for kind in (ExactSettings, *SAMPLED)
        for value in (0.0, 1.0, -0.5, 95.0, math.nan)
    ),
    *(
        (kind, "seed", value, f"seed is {value}; give an integer >= 0 and < 2^63")
        for kind in SEEDED
        for value in (-1, 2**63)
    ),
    (MonteCarloSettings, "instances", (), "no instance given"),
    (MonteCarloSettings, "instances", (1, 1), "given twice among 1 1"),
    (MonteCarloSettings, "instances", (-1,), "instance is -1; give an integer >= 0"),
    (MujocoSettings, "point", "middle", "point is 'middle'; choose one of initial, trained"),
    (MujocoSettings, "tasks", 0, "tasks is 0; give an integer >= 1"),
    (MujocoSettings, "left_out", -1, "left_out is -1; give an integer >= 0"),
    (MujocoSettings, "horizon", 0, "horizon is 0; give an integer >= 1"),
    *(
        (
            MujocoSettings,
            "inner_learning_rate",
            value,
            f"inner_learning_rate is {value}; give a pos",
        )
        for value in (0.0, math.inf, math.nan)
    ),
    *(
        (MujocoSettings, "pilot", value, f"pilot is {value}; give 0, or an integer from 3 to repl")
        for value in (-1, 2, 1000000)
    ),
    *(
        (MujocoSettings, "precision", value, f"precision is {value}; give a positive number")
        for value in (0.0, -1.0, math.nan, math.inf)
    ),
    (ConvergenceSettings, "step_sizes", (), "no step size given"),
    (ConvergenceSettings, "step_sizes", (0.5, 0.5), "given twice among 0.5 0.5"),
    *(
        (ConvergenceSettings, "step_sizes", (value,), f"step size is {value}; give a positive")
        for value in (0.0, -0.5, math.inf, math.nan)
    ),
    (ConvergenceSettings, "epsilons", (), "no epsilon given"),
    (ConvergenceSettings, "epsilons", (-1.0,), "epsilon is -1.0; give a positive number"),
    (ConvergenceSettings, "epsilons", (1.0,), "epsilon is 1.0; give a number below 1"),
    (ExactSettings, "gradient", ("mine:f",), "both --estimators and --gradient given; give one"),
    (ExactSettings, "replicates", 5, "--replicates given without --gradient"),
    (ExactSettings, "seed", -1, "seed is -1; give an integer >= 0"),
    (ConvergenceSettings, "seeds", 2, "seeds is 2; give an integer >= 3"),
    (ConvergenceSettings, "iterations", 0, "iterations is 0; give an integer >= 1"),
    (ConvergenceSettings, "ridge", -0.1, "ridge is -0.1; give a number >= 0"),
    (ConvergenceSettings, "ridge", math.inf, "ridge is inf; give a number >= 0"),
]


@pytest.mark.parametrize(("kind", "name", "value", "message"), INVALID)
def test_an_invalid_value_is_named_in_one_line(kind, name, value, message):
    with pytest.raises(InputError) as error:
        kind(**VALID[kind] | {name: value})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_leave_one_out_without_trajectories_left_out():
    with pytest.raises(InputError, match="leave_one_out needs left_out of at least 1; got 0"):
        MujocoSettings(
            **VALID[MujocoSettings] | {"left_out": 0, "estimators": ("lsf", "leave_one_out")}
        )


@pytest.mark.parametrize("kind", VALID)
def test_every_field_has_an_invalid_value_above(kind):
    """A setting that is added without a check, or a check without a test, shows up here."""
    free = {"problem", "policy"}  # the problems, which need TensorFlow, and the file check them
    fields = {field.name for field in dataclasses.fields(kind)}
    assert {name for checked, name, *_ in INVALID if checked is kind} == fields - free


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (MonteCarloSettings, {"replicates": 3, "practical_replicates": 3}),
        (MujocoSettings, {"replicates": 3, "outer_sample_size": 1}),
        *((kind, {"confidence": 1e-6, "seed": 2**63 - 1}) for kind in SAMPLED),
        (MonteCarloSettings, {"instances": (0,)}),
        (MujocoSettings, {"point": "trained", "tasks": 1}),
        (ConvergenceSettings, {"seeds": 3, "iterations": 1, "ridge": 0.0, "seed": 0}),
    ],
)
def test_the_ends_of_what_is_allowed(kind, changes):
    settings = kind(**VALID[kind] | changes)
    assert {name: getattr(settings, name) for name in changes} == changes


def test_no_tensorflow():
    code = "import sys, metarl.audit.settings; print('tensorflow' in sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert finished.stdout == "False\n"
