"""The command line: bad input gives one line and status 2, and leaves nothing behind."""

import json
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metarl import figures
from metarl.claims import criteria
from metarl.cli import commands, parse
from metarl.errors import InputError
from metarl.storage import pack_arrays, write_bytes

TRAIN = (
    "train --algorithm label --estimator lvc --environment PointGoal --iterations 1 --tasks 2 "
    "--trajectories 2 --horizon 3 --hidden-sizes 4 "
    "--output new/run.parquet --policy new/run.npz --checkpoints new/checkpoints"
)
AUDIT = "audit exact --problem bandit --estimators lsf --sample-sizes 2 --output new/exact.parquet"
BLACK_BOX = "audit exact --problem bandit --sample-sizes 2 --output new/exact.parquet"
EVALUATE = "evaluate --policy run.npz --output new/evaluation.parquet"
FIGURE = "figure adaptation --inputs evaluation.parquet --output new/adaptation"
MONTE_CARLO = (
    "audit monte-carlo --instances 0 --estimators lsf --sample-sizes 2 "
    "--checkpoints new/checkpoints --output new/monte_carlo.parquet"
)
MUJOCO = (
    "audit mujoco --policy run.npz --estimators lsf --sample-sizes 2 --checkpoints new/checkpoints "
    "--output new/mujoco.parquet"
)
CONVERGENCE = (
    "convergence --problem bandit --estimators lsf --sample-sizes 2 --step-sizes 0.1 "
    "--output new/convergence.parquet"
)
CLAIMS = "claims --output new/claims --criteria"
CRITERIA = json.dumps(dict.fromkeys(criteria.NAMES, 0.5))
BENCH = "bench --output new/bench.json"

BAD_INPUT = {
    # the command
    "": "no command given; choose one of estimators, identify, audit exact, audit limit",
    "trian": "unknown command 'trian'; choose one of",
    "audit": "unknown command 'audit'; choose one of",
    "--seed 3": "unknown command '--seed'; choose one of",
    # flags that are missing, unknown, or without their value
    "train": "missing --output, --policy, --checkpoints, --environment, --estimator, --algo",
    "train --estimator lsf --bogus 3": "missing --output, --policy, --checkpoints, --environment, ",
    "audit exact --problem bandit": "missing --output, --sample-sizes; see metarl audit exact",
    "figure --inputs a --output b": "missing NAME; see metarl figure --help",
    "evaluate --output b": "missing --policy; see metarl evaluate --help",
    "claims": "missing --output; see",
    "audit mujoco": "missing --output, --checkpoints, --estimators, --sample-sizes, --policy; see",
    "convergence": "missing --output, --estimators, --sample-sizes, --problem, --step-sizes; see",
    f"{TRAIN} --bogus 3": "Unrecognized options: --bogus, 3; see metarl train --help",
    f"{TRAIN} more": "Unrecognized options: more; see metarl train --help",
    f"{TRAIN} --seed": "Missing value for argument '--seed'",
    "estimators more": "Unrecognized options: more; see metarl estimators --help",
    # settings
    f"{TRAIN} --seed one": "Error parsing --seed: invalid literal for int()",
    f"{TRAIN} --seed 1.5": "Error parsing --seed: invalid literal for int()",
    f"{TRAIN} --seed -1": "seed is -1; give an integer >= 0",
    f"{TRAIN} --seed {2**63}": f"seed is {2**63}; give an integer >= 0 and",
    f"{TRAIN} --iterations 0": "iterations is 0; give an integer >= 1",
    f"{TRAIN} --hidden-sizes 4 0": "hidden_sizes is (4, 0); give integers >= 1",
    f"{TRAIN} --discount 1.1": "discount is 1.1; give a number in (0, 1]",
    f"{TRAIN} --gae-lambda nan": "gae_lambda is nan; give a number in [0, 1]",
    f"{TRAIN} --inner-learning-rate 0": "inner_learning_rate is 0.0; give a positive number",
    f"{TRAIN} --clip inf": "clip is inf; give a positive number",
    f"{TRAIN} --averaging mean": "invalid choice 'mean' for argument '--averaging'",
    f"{TRAIN} --environment Ant": "unknown environment 'Ant'; choose one of AntDir, AntDir2D",
    f"{TRAIN} --estimator mam": "unknown estimator 'mam'; choose one of fomaml, maml",
    f"{TRAIN} --threads 0": "threads is 0; it must be a positive integer",
    f"{TRAIN} --outer-optimizer trpo --outer-epochs 2 --tensorboard new/board": (
        "outer_epochs, inner_kl_coefficient is (2, 0.0); give 1 and 0"
    ),
    f"{AUDIT} --problem maze": "unknown problem 'maze'; choose one of bandit, chain",
    f"{AUDIT} --estimators lsf mam": "unknown estimator 'mam'; choose one of fomaml, maml",
    f"{AUDIT} --estimators": "no estimator given; give at least one",
    f"{AUDIT} --gradient mine:g": "both --estimators and --gradient given; give one of them",
    f"{AUDIT} --replicates 9": "--replicates given without --gradient; see metarl audit",
    f"{BLACK_BOX} --gradient mine": "--gradient is 'mine'; give package.module:function",
    f"{BLACK_BOX} --gradient mine:g": "mine:g cannot be imported (ModuleNotFoundError",
    f"{BLACK_BOX} --gradient exits:g": "exits:g failed at exits.py:2 (SystemExit: 3); it is called",
    f"{BLACK_BOX} --gradient exits:g --replicates 2": "replicates is 2; give an integer >= 3",
    "audit replicates": "no dump given; give at least one",
    "audit replicates text.txt": "text.txt cannot be read",
    f"{AUDIT} --sample-sizes 4 0": "sample size is 0; give an integer >= 1",
    f"{AUDIT} --sample-sizes two": "Error parsing --sample-sizes: Could not find valid parse",
    f"{AUDIT} --sample-sizes 1000000": "at most 5000000 can be enumerated, give a smaller one",
    # sizes beyond the machine
    f"{TRAIN} --trajectories 1000000000": "tasks, trajectories, horizon, hidden_sizes, "
    "inner_steps, iterations are 2, 1000000000, 3, (4,), 1, 1: at least ",
    f"{TRAIN} --iterations 1000000000": "GB of memory, where this machine has ",
    f"{TRAIN} --hidden-sizes 1000000 1000000": "TB of memory, where this machine has ",
    f"{TRAIN} --tasks 100000000000": "TB of memory, where this machine has ",
    f"{EVALUATE} --tasks 1000000000": "TB of memory, where this machine has ",
    f"{CONVERGENCE} --seeds 1000000000": "seeds, step_sizes, sample_sizes are 1000000000, ",
    f"{MONTE_CARLO} --replicates 1000000000": "replicates, sample_sizes are 1000000000, (2,): at ",
    f"{MONTE_CARLO} --sample-sizes 2 1000000000": "TB of memory, where this machine has ",
    f"{MUJOCO} --replicates 1000000000": "replicates, outer_sample_size, tasks, sample_sizes are ",
    f"{MUJOCO} --outer-sample-size 1000000000": "TB of memory, where this machine has ",
    f"{BLACK_BOX} --gradient exits:g --replicates 1000000000": "replicates are 1000000000: at ",
    # files
    f"{EVALUATE} --policy absent.npz": "no file 'absent.npz'; give a file that metarl wrote",
    f"{EVALUATE} --policy .": "no file '.'; give a file that metarl wrote",
    f"{EVALUATE} --policy text.txt": "'text.txt' is not a readable metarl file; write it anew",
    f"{EVALUATE} --policy other.npz": "'other.npz' is not a policy of `metarl train`; give one of",
    f"{TRAIN} --initial-policy absent.npz": "no file 'absent.npz'; give a file that metarl wrote",
    f"{TRAIN} --initial-policy run.npz": "the initial policy 'run.npz' has 2 observations, 2 ",
    f"{TRAIN} --initial-policy run.npz --policy run.npz": "cannot write 'run.npz' (an input too)",
    f"{MUJOCO} --output run.npz": "cannot write 'run.npz' (an input too)",
    "bench --configuration text.txt --output text.txt": "cannot write 'text.txt' (an input too)",
    f"{EVALUATE} --baselines random random": "a baseline is given twice among random random; give",
    f"{EVALUATE} --baselines best": "invalid choice 'best'",
    f"{EVALUATE} --seed -1": "seed is -1; give an integer >= 0",
    f"{EVALUATE} --horizon 0": "horizon is 0; give an integer >= 1",
    f"{EVALUATE} --inner-learning-rates 0.1 nan": "inner_learning_rates is nan; give positive num",
    f"{EVALUATE} --tasks 0": "tasks is 0; give an integer >= 1",
    f"{EVALUATE} --trajectories 0": "trajectories is 0; give an integer >= 1",
    f"{EVALUATE} --inner-steps -1": "inner_steps is -1; give an integer >= 0",
    f"{EVALUATE} --threads 0": "threads is 0; it must be a positive integer",
    "figure adaptation --inputs it.svg --output it": "cannot write 'it.svg' (an input too)",
    "figure pie --inputs evaluation.parquet --output new/pie": "there is no figure 'pie': choose",
    f"{FIGURE} --inputs absent.parquet": "absent.parquet: no such file",
    f"{FIGURE} --inputs text.txt": "text.txt: not a parquet file",
    f"{FIGURE} --inputs other.parquet": "other.parquet: ",
    f"{FIGURE} --inputs": "no evaluation rows in 0 files: give at least one file with rows",
    f"{MUJOCO} --policy absent.npz": "no file 'absent.npz'",
    f"{MUJOCO} --policy text.txt": "'text.txt' is not a readable metarl file",
    f"{MUJOCO} --point middle": "point is 'middle'; choose one of initial, trained",
    f"{MUJOCO} --confidence 95": "confidence is 95.0; give a number in (0, 1)",
    f"{MUJOCO} --seed -1": "seed is -1; give an integer >= 0",
    f"{MONTE_CARLO} --confidence 0": "confidence is 0.0; give a number in (0, 1)",
    f"{MONTE_CARLO} --instances -1": "instance is -1; give an integer >= 0",
    f"{MONTE_CARLO} --estimators mam": "unknown estimator 'mam'; choose one of fomaml, maml",
    f"{MONTE_CARLO} --checkpoints text.txt": "cannot write 'text.txt/checkpoint.npz' (",
    f"{CONVERGENCE} --seeds 2": "seeds is 2; give an integer >= 3",
    f"{CONVERGENCE} --output folder": "cannot write 'folder' (it is a folder)",
    f"{CONVERGENCE} --problem stopping": "stopping has several inner steps or a mean over steps",
    f"{CLAIMS} '{CRITERIA}' --check": "new/claims/claims.json is no claims.json",
    f"{CLAIMS} '{{'": "--criteria is not JSON",
    f"{CLAIMS} 3": "--criteria is 3; give an object of numbers",
    f"{CLAIMS} '{{}}'": "criterion coefficient_distance_max is missing: give exactly confidence",
    f"{CLAIMS} '{CRITERIA}' --exact text.txt": "text.txt: not a parquet file",
    f"{CLAIMS} '{CRITERIA}' --output text.txt": "cannot write 'text.txt/claims.json' (",
    f"{BENCH} --threads 0": "threads is 0; it must be a positive integer",
}


@pytest.fixture
def metarl(monkeypatch):
    """Runs `metarl ARGUMENTS` in this process; returns the exit status."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")  # as main sets it; restored after the test
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "1")

    def run(arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["metarl", *shlex.split(arguments)])
        try:
            parse.main()
        except SystemExit as stop:
            return stop.code
        return 0

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working folder, with a few files that are no proper input, and a policy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("not a table\n")
    (tmp_path / "exits.py").write_text("def g(parameters, inner, outer, rate):\n    exit(3)\n")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    pd.DataFrame({"a": [1]}).to_parquet("other.parquet")
    write_bytes(pack_arrays({"numbers": np.ones(3)}, {}), "other.npz")
    settings = {"environment": "PointGoal", "estimator": "lsf", "algorithm": "label"}
    parameters = np.zeros(2 * 2 + 2 + 2, np.float32)
    write_bytes(
        pack_arrays({"parameters": parameters}, {**settings, "hidden_sizes": []}), "run.npz"
    )
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def assert_one_line(errors: str, message: str) -> None:
    assert errors.startswith("metarl: ")
    assert errors.count("\n") == 1
    assert errors.endswith("\n")
    assert message in errors


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input(metarl, folder, capsys, arguments):
    before = contents(folder)
    assert metarl(arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert_one_line(errors, BAD_INPUT[arguments])
    assert contents(folder) == before


def real_command(arguments: str) -> subprocess.CompletedProcess:
    """In a process of its own, whose stderr also gets what TensorFlow's C++ says past Python."""
    return subprocess.run(
        [sys.executable, "-m", "metarl", *shlex.split(arguments)],
        check=False,
        capture_output=True,
        text=True,
    )


def test_bad_input_to_the_real_command(folder):
    before = contents(folder)
    finished = real_command(f"{TRAIN} --estimator mam")
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert_one_line(finished.stderr, "unknown estimator 'mam'; choose one of fomaml, maml")
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("eta", "message"),
    [
        (
            "1e36",
            "label on PointGoal: the meta-gradient is not finite at iteration 0; lower outer_",
        ),
        (
            "3e38 --averaging trajectories",
            "label on PointGoal: the parameters are not finite after inner step 1; lower inner_",
        ),
        ("1e300", "lower inner_learning_rate, which is 1e+300"),
    ],
)
def test_a_run_that_cannot_go_on(folder, eta, message):
    """An inner step into infinity, after TensorFlow has computed: status 1, a line, no result."""
    before = contents(folder)
    finished = real_command(f"{TRAIN} --inner-learning-rate {eta}")
    assert finished.returncode == 1
    assert finished.stdout == ""
    _, error = finished.stderr.splitlines(keepends=True)  # after that of the compilation
    assert_one_line(error, message)
    assert contents(folder) == before


def test_the_command_line_starts_without_tensorflow():
    code = "import sys, metarl.cli; print([m for m in sys.modules if m.startswith('tensorflow')])"
    finished = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert finished.stdout == "[]\n"


def test_an_interruption(metarl, folder, capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "draw", interrupt)
    assert metarl(FIGURE) == 130
    assert_one_line(capsys.readouterr().err, "interrupted; what was written stays valid, run again")


def test_an_error_of_ours_is_not_hidden(metarl, folder, monkeypatch):
    def fail(*arguments):
        raise ValueError("a bug")

    monkeypatch.setattr(figures, "draw", fail)
    with pytest.raises(ValueError, match="a bug"):
        metarl(FIGURE)


def test_a_message_of_several_lines_becomes_one(capsys):
    assert parse.stop(InputError("this\n  and that;\ngive these"), 2) == 2
    assert capsys.readouterr().err == "metarl: this and that; give these\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_usage_names_every_command(metarl, capsys, flag):
    assert metarl(flag) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    for name, command in commands.COMMANDS.items():
        assert f"  metarl {name} " in output
        assert command.__doc__.splitlines()[0] in output


def test_version(metarl, capsys):
    assert metarl("--version") == 0
    assert capsys.readouterr() == (f"metarl {metadata.version('metarl')}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        "trian",
        "identify",
        "identify bundle.npz --tolerance 1",
        f"{TRAIN} --seed -1",
        f"{AUDIT} --sample-sizes 4 0",
        f"{MONTE_CARLO} --replicates 2",
        f"{MUJOCO} --confidence 1",
        f"{CONVERGENCE} --seeds 2",
        f"{FIGURE} --inputs absent.parquet",
        f"{CLAIMS} 3",
    ],
)
def test_what_can_be_told_at_once_does_not_wait_for_tensorflow(
    metarl, folder, monkeypatch, arguments
):
    monkeypatch.setattr(parse, "load_tensorflow", lambda: pytest.fail("loaded"))
    assert metarl(arguments) == 2


def test_tensorflow_is_loaded_before_a_command_that_needs_it(metarl, monkeypatch):
    order = []
    monkeypatch.setattr(parse, "load_tensorflow", lambda: order.append("load"))
    monkeypatch.setattr(commands.Estimators, "run", lambda command: order.append("run"))
    assert metarl("estimators") == 0
    assert order == ["load", "run"]


def test_help_names_the_figures(metarl, capsys):
    assert metarl("figure --help") == 0
    page = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert f"One of {', '.join(figures.NAMES)}." in page


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_help(metarl, capsys, name):
    assert metarl(f"{name} --help") == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    assert f"usage: metarl {name}" in output


def test_estimators_prints_the_catalogue(metarl, capsys):
    from metarl.estimators import CATALOGUE

    assert metarl("estimators") == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    for name, entry in CATALOGUE.items():
        (line,) = [line for line in output.splitlines() if line.split()[:1] == [name]]
        assert entry.formula in line
        assert entry.source in line


def test_an_audit_prints_its_table(metarl, folder, capsys):
    (folder / "own.py").write_text(
        "def g(parameters, inner, outer, rate):\n    return parameters\n"
    )
    assert metarl(AUDIT) == 0
    assert capsys.readouterr().out.startswith("lsf on bandit\n  N  bias")
    assert metarl(f"{BLACK_BOX} --gradient own:g --replicates 9 --seed 1") == 0
    assert capsys.readouterr().out.startswith("own:g on bandit\n  N  replicates  bias")
    assert "bias_low" in pd.read_parquet("new/exact.parquet")


def test_train_evaluate_and_draw(metarl, folder, capsys):
    assert metarl(TRAIN) == 0
    assert metarl(f"{EVALUATE} --policy new/run.npz --tasks 2 --trajectories 2") == 0
    assert metarl(f"{FIGURE} --inputs new/evaluation.parquet") == 0
    assert capsys.readouterr().out == ""  # progress goes to stderr
    training = pd.read_parquet("new/run.parquet")
    assert training["inner_step"].tolist() == [0, 1]
    assert training["environment_steps"].tolist() == [2 * 2 * 2 * 3] * 2
    evaluation = pd.read_parquet("new/evaluation.parquet")
    assert evaluation["inner_step"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {"label"} == set(evaluation["algorithm"]) == set(training["algorithm"])
    assert (folder / "new" / "adaptation.svg").stat().st_size > 0
    assert (folder / "new" / "adaptation.png").stat().st_size > 0


def words(settings: dict) -> list[str]:
    """The flags of `settings`."""
    arguments = []
    for name, value in settings.items():
        values = value if isinstance(value, tuple) else (value,)
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return arguments


def test_every_flag_reaches_the_settings():
    """Each value differs from its default: a flag that is dropped or mixed up shows."""
    settings = {
        "environment": "PointGoal",
        "estimator": "lsf",
        "algorithm": "label",
        "seed": 2,
        "iterations": 3,
        "tasks": 4,
        "trajectories": 5,
        "horizon": 6,
        "hidden_sizes": (7, 8, 9),
        "activation": "relu",
        "inner_steps": 10,
        "inner_learning_rate": 0.11,
        "averaging": "trajectories",
        "discount": 0.12,
        "gae_lambda": 0.13,
        "state_weighting": "uniform",
        "outer_learning_rate": 0.14,
        "outer_epochs": 15,
        "clip": 0.16,
        "inner_kl_coefficient": 0.17,
        "inner_kl_target": 0.19,
        "trust_region": 0.21,
        "fisher_stride": 3,
    }
    paths = {"output": "o", "policy": "p", "checkpoints": "c", "tensorboard": "t"}
    arguments = words({**settings, **paths, "threads": 18})
    command = parse.parse("train", arguments)
    assert vars(command.settings) == settings | {"outer_optimizer": "adam", "left_out": 0}
    other = [*arguments, "--outer-optimizer", "trpo", "--outer-epochs", "1"]
    other += ["--inner-kl-coefficient", "0", "--inner-kl-target", "0"]
    other += ["--left-out", "2"]  # which takes one outer epoch too
    changed = parse.parse("train", other).settings
    assert (changed.outer_optimizer, changed.left_out) == ("trpo", 2)
    assert {name: str(getattr(command, name)) for name in paths} == paths
    assert command.threads == 18


AUDITS = {
    "audit exact": {"problem": ("chain", "bandit")},
    "audit monte-carlo": {
        "instances": (0, 1),
        "replicates": 5,
        "practical_replicates": 6,
        "seed": 7,
        "confidence": 0.8,
    },
    "audit mujoco": {
        "policy": Path("p"),
        "point": "initial",
        "replicates": 5,
        "outer_sample_size": 6,
        "tasks": 7,
        "left_out": 3,
        "horizon": 4,
        "inner_learning_rate": 0.5,
        "pilot": 4,
        "precision": 0.7,
        "seed": 8,
        "confidence": 0.9,
    },
    "convergence": {
        "problem": "chain",
        "step_sizes": (0.1, 0.2),
        "epsilons": (0.3, 0.4),
        "seeds": 5,
        "iterations": 6,
        "ridge": 0.7,
        "seed": 8,
    },
}


@pytest.mark.parametrize("name", AUDITS)
def test_every_flag_reaches_the_settings_of_an_audit(name):
    settings = {"estimators": ("lsf", "dice"), "sample_sizes": (2, 3), **AUDITS[name]}
    paths = {"output": "o"}
    if "confidence" in settings:  # a sampled audit takes long
        paths["checkpoints"] = "c"
    command = parse.parse(name, words(settings | paths))
    others = {"gradient": (), "replicates": None, "seed": 0, "confidence": 0.95}
    others = others if name == "audit exact" else {}
    assert vars(command.settings) == settings | others
    assert {key: str(getattr(command, key)) for key in paths} == paths


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        ("| true", 1, "the output was cut off (Broken pipe)"),
        ("> /dev/full", 1, "the output was cut off (No space left on device)"),
        (">&-", 2, "standard output is closed"),
    ],
)
def test_output_that_cannot_be_written_is_one_line(redirection, status, message):
    """In a shell, since the output's end is a matter of the process; --help needs no TensorFlow."""
    reader = "sleep 0.2; " if redirection.startswith("|") else ""
    command = f"{{ {reader}{sys.executable} -m metarl --help; echo $? >&2; }} {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    line, given = done.stderr.splitlines()
    assert line.startswith(f"metarl: {message}") and int(given) == status
