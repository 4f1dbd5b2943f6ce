"""metarl.configuration: what a file inherits, the settings of its runs, and faults in one line."""

import copy
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from metarl.configuration import (
    DEFAULTS,
    SCHEMA,
    estimator_losses,
    flags,
    published_evaluations,
    published_runs,
    read_configuration,
    require_scale,
    seeds,
    study_runs,
    training_runs,
)
from metarl.errors import InputError
from metarl.settings import TrainingSettings

CONFIG = Path(__file__).parents[1] / "config"
SMOKE = yaml.safe_load((CONFIG / "config.yaml").read_text()) | yaml.safe_load(
    (CONFIG / "smoke.yaml").read_text()
)
del SMOKE["extends"]


def write(path: Path, config: object) -> Path:
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))
    return path


def refusal(path: Path) -> str:
    """The one line by which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_configuration(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, so that messages are as short as a user's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- the scales --------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "environments"), [("config", 3), ("smoke", 2), ("paper", 13)])
def test_the_scales_are_accepted(scale, environments):
    assert len(read_configuration(CONFIG / f"{scale}.yaml")["environments"]) == environments


def test_figures_stand_among_the_results_unless_a_folder_is_given(folder):
    given = {"results": "a", "figures": "b"}
    assert read_configuration(CONFIG / "smoke.yaml")["figures"] == "results/smoke/figures"
    assert read_configuration(CONFIG / "smoke.yaml", {"results": "a"})["figures"] == "a/figures"
    assert read_configuration(write(folder / "mine.yaml", SMOKE | given))["figures"] == "b"


def test_the_documentation_shows_the_default_scale_alone(folder):
    default = CONFIG / "config.yaml"
    require_scale(read_configuration(default, {"results": "elsewhere"}), default)
    with pytest.raises(InputError, match="config.yaml gives, and base_seed of this configuration"):
        require_scale(read_configuration(default, {"base_seed": 1000}), default)
    with pytest.raises(
        InputError, match=r"seeds, audit, .*; leave them out, or copy results/smoke/"
    ):
        require_scale(read_configuration(CONFIG / "smoke.yaml"), default)


def test_an_environment_may_have_seeds_of_its_own_and_a_base_moves_all(tmp_path):
    assert [
        seeds(SMOKE | {"base_seed": 1000, "seeds": [0, 2]}, environment)
        for environment in ("PointGoal", "HalfCheetahDir")
    ] == [[1000, 1002]] * 2
    config = read_configuration(CONFIG / "config.yaml")
    assert seeds(config, "HalfCheetahDir") == [0, 1, 2, 3, 4]
    assert "seeds" not in vars(training_runs(config)["HalfCheetahDir", "lsf"])
    environments = SMOKE["environments"] | {"PointGoal": {"seeds": [1]}}
    write(tmp_path / "own.yaml", SMOKE | {"environments": environments})
    assert "audit.mujoco.seed: got 0; allowed: 1" in refusal(tmp_path / "own.yaml")


def test_the_default_scale_states_every_setting():
    assert set(yaml.safe_load((CONFIG / "config.yaml").read_text())["training_defaults"]) == set(
        DEFAULTS
    )


def test_the_settings_of_published_benchmarks():
    """ProMP's settings (Rothfuss et al. 2019) where nothing else is stated."""
    run = training_runs(read_configuration(CONFIG / "paper.yaml"))["AntDir", "maml_trpo"]
    assert run == TrainingSettings(
        environment="AntDir",
        estimator="maml",
        algorithm="maml_trpo",
        iterations=1001,
        tasks=40,
        trajectories=20,
        horizon=200,
        hidden_sizes=(64, 64),
        inner_learning_rate=0.1,
        state_weighting="uniform",
        outer_optimizer="trpo",
    )


def test_promps_comparison_has_its_papers_settings():
    """Rothfuss et al. 2019: clipped epochs for promp and lsf, a trust region, one step of Adam."""
    runs = training_runs(read_configuration(CONFIG / "promp.yaml"))
    assert {run.state_weighting for run in runs.values()} == {"uniform"}
    assert min(run.iterations * run.steps_an_iteration for run in runs.values()) >= 10_000_000
    cheetah = {name: run for (environment, name), run in runs.items() if "Cheetah" in environment}
    of_optimizer = {
        name: (run.estimator, run.outer_optimizer, run.outer_epochs, run.inner_kl_coefficient)
        for name, run in cheetah.items()
    }
    assert of_optimizer == {
        "promp": ("lvc", "adam", 5, 0.0005),
        "lsf": ("lsf", "adam", 5, 0.0005),
        "maml_trpo": ("maml", "trpo", 1, 0.0),
        "emaml_trpo": ("emaml", "trpo", 1, 0.0),
        "dice_vpg": ("dice", "adam", 1, 0.0),
    }
    promp = cheetah["promp"]
    assert (promp.tasks, promp.trajectories, promp.horizon) == (40, 20, 100)
    assert (promp.inner_learning_rate, promp.outer_learning_rate, promp.clip) == (0.1, 0.001, 0.3)
    assert cheetah["maml_trpo"].trust_region == 0.01


# --- extends -----------------------------------------------------------------------------------


def test_a_section_replaces_the_whole_one_and_the_rest_is_inherited(folder):
    (folder / "scales").mkdir()
    write(folder / "base.yaml", SMOKE)
    write(folder / "scales/middle.yaml", {"extends": "../base.yaml", "seeds": [0, 3]})
    section = {"PointGoal": {"iterations": 7}}
    mine = write(folder / "mine.yaml", {"extends": "scales/middle.yaml", "environments": section})
    config = read_configuration(mine)
    assert config["environments"] == {
        "PointGoal": DEFAULTS | SMOKE["training_defaults"] | section["PointGoal"]
    }
    assert config["seeds"] == [0, 3]
    assert config["audit"] == SMOKE["audit"]
    assert "extends" not in config


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (
            {"a": {"extends": "b.yaml"}},
            "a.yaml: extends: got 'b.yaml'; allowed: the path of a file",
        ),
        ({"a": {"extends": 3}}, "a.yaml: extends: got 3; allowed: the path of a file"),
        ({"a": {"extends": None}}, "a.yaml: extends: got None; allowed: the path of a file"),
        ({"a": {"extends": "."}}, "a.yaml: extends: got '.'; allowed: the path of a file"),
        ({"a": {"extends": "a.yaml"}}, "a.yaml: extends: got 'a.yaml', which extends this file"),
        (
            {"a": {"extends": "b.yaml"}, "b": {"extends": "c.yaml"}, "c": {"extends": "b.yaml"}},
            "c.yaml: extends: got 'b.yaml', which extends this file",
        ),
        ({"a": {"extends": "b.yaml"}, "b": "seeds: ["}, "b.yaml, line 1: no YAML"),
    ],
)
def test_what_cannot_be_extended_is_one_line(folder, files, line):
    for name, config in files.items():
        write(folder / f"{name}.yaml", config)
    assert refusal(folder / "a.yaml").startswith(line)


def test_the_file_that_states_the_fault_is_named(folder):
    write(folder / "base.yaml", SMOKE | {"seeds": []})
    mine = write(folder / "mine.yaml", {"extends": "base.yaml", "results": "elsewhere"})
    assert refusal(mine).startswith("base.yaml: seeds: got []")


def test_overrides_replace_sections(folder):
    mine = write(folder / "mine.yaml", SMOKE)
    assert read_configuration(mine, {"results": "elsewhere"})["results"] == "elsewhere"
    with pytest.raises(InputError, match="^--config: seeds: got 'x'"):
        read_configuration(mine, {"seeds": "x"})


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "a.yaml: No such file or directory; give a file such as config/config.yaml"),
        (b"", "a.yaml: holds no settings"),
        (b"[1, 2]", "a.yaml: holds a list"),
        (b"text", "a.yaml: holds a str"),
        (b"\xff\xfe\x00", "a.yaml: no YAML ("),
        (b"seeds: [0]\nresults: \x00", "a.yaml, line 2: no YAML (special characters are not"),
        (b"seeds: [0\nresults: a", "a.yaml, line 2: no YAML (expected ',' or ']', but got ':')"),
        (b"seeds: 0\n\tresults: a", "a.yaml, line 2: no YAML (found character '\\t'"),
        (b"a: {b: 1}\nseeds: [0]\na: 2", "a.yaml, line 3: no YAML (the key a stands there twice)"),
        (b"seeds: 2020-13-41", "a.yaml: no YAML (month must be in 1..12); give what YAML can"),
        (b"seeds: " + b"[" * 3000, "a.yaml: no YAML (maximum recursion depth exceeded"),
    ],
)
def test_what_is_no_configuration_is_one_line(folder, content, line):
    if content is not None:
        (folder / "a.yaml").write_bytes(content)
    assert refusal(folder / "a.yaml").startswith(line)


def test_a_folder_is_no_configuration(folder):
    assert refusal(folder).endswith("Is a directory; give a file such as config/config.yaml")


# --- settings of the runs ----------------------------------------------------------------------


def test_an_algorithm_goes_over_its_environment_goes_over_the_defaults():
    config = copy.deepcopy(SMOKE)
    config["training_defaults"] = {"clip": 0.1, "horizon": 1, "tasks": 1}
    config["environments"] = {"PointGoal": {"horizon": 2, "tasks": 2}}
    config["algorithms"] = {"a": {"estimator": "dice", "settings": {"tasks": 3}}}
    expected = TrainingSettings(
        environment="PointGoal", estimator="dice", algorithm="a", clip=0.1, horizon=2, tasks=3
    )
    assert training_runs(config) == {("PointGoal", "a"): expected}


def test_without_defaults_those_of_the_command_line_hold():
    config = {key: value for key, value in SMOKE.items() if key != "training_defaults"}
    run = training_runs(config)["HalfCheetahDir", "lsf"]
    assert run.iterations == TrainingSettings.iterations
    assert run.inner_learning_rate == 1.0


def test_the_study_spends_the_same_trajectories():
    """2 iterations of 4 trajectories are 4 of 2, or 2 of 3 and some left over."""
    config = copy.deepcopy(SMOKE)
    config["sample_size_study"]["trajectories"] = [2, 3]
    runs, own = study_runs(config), training_runs(config)["PointGoal", "lsf"]
    assert list(runs) == [("PointGoal", name, n) for name in ("unbiased", "lsf") for n in (2, 3)]
    run = runs["PointGoal", "lsf", 2]
    assert run == dataclasses.replace(own, trajectories=2, iterations=4)
    assert runs["PointGoal", "lsf", 3].iterations == 2


def test_published_runs_state_what_differs():
    config = copy.deepcopy(SMOKE)
    run = published_runs(config)["PointGoal_finn2017"]
    assert (run.algorithm, run.estimator, run.tasks) == ("maml_trpo", "maml", 4)
    assert (run.hidden_sizes, run.state_weighting) == ((100, 100), "uniform")
    assert published_evaluations(config)["PointGoal_finn2017"] == {
        **SMOKE["evaluation"],
        "later_step_scale": 0.5,
    }
    config["published"]["PointGoal_finn2017"].pop("evaluation")
    assert published_evaluations(config)["PointGoal_finn2017"] == SMOKE["evaluation"]


def test_flags():
    assert flags({"inner_steps": 1, "hidden_sizes": (64, 32), "no": 1}, omit=["no"]) == (
        "--inner-steps 1 --hidden-sizes 64 32"
    )


# --- faults ------------------------------------------------------------------------------------

POINT = ("environments", "PointGoal")
DROP = object()


def changed(*changes: tuple[tuple, object]) -> dict:
    """The smoke scale with values put in the place of keys, or the keys dropped."""
    config = copy.deepcopy(SMOKE)
    for (*outer, last), value in changes:
        place = config
        for key in outer:
            place = place[key]
        if value is DROP:
            del place[last]
        else:
            place[last] = value
    return config


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        # structure
        ([(("evaluation", "task"), 4)], "evaluation: unknown key task; allowed: tasks, "),
        ([(("sizes",), 4)], "top level: unknown key sizes; allowed: extends, results, "),
        ([(("seeds",), DROP)], "top level: missing key seeds; give it, or extend a file that"),
        ([(("seeds",), None)], "seeds: got None (NoneType); allowed: array"),
        ([(("seeds",), [0, "1"])], "seeds.1: got '1' (str); allowed: integer"),
        ([(("seeds",), [0, 1.0])], "seeds.1: got 1.0 (float); allowed: integer"),
        ([(("seeds",), 3)], "seeds: got 3 (int); allowed: array"),
        ([(("seeds",), [])], "seeds: got []; allowed: at least 1 of them"),
        ([(POINT, None)], "environments.PointGoal: got None (NoneType); allowed: object"),
        ([(("convergence", "ridge"), float("nan"))], "convergence.ridge: got nan (float)"),
        ([(("audit", "exact", "problems", "Chain"), {})], "audit.exact.problems: got 'Chain'"),
        ([(("audit", "exact", "problems", 3), {})], "audit.exact.problems: got 3 (int)"),
        ([(("audit", "mujoco", "points"), ["end"])], "audit.mujoco.points.0: got 'end'; allowed: "),
        # settings
        ([((*POINT, "iteratons"), 3)], "environments.PointGoal: unknown key iteratons; allowed: "),
        ([(("training_defaults", "seed"), 3)], "training_defaults: unknown key seed; allowed: "),
        (
            [(("algorithms", "maml_trpo", "settings", "lr"), 3)],
            "algorithms.maml_trpo: unknown key lr; allowed: ",
        ),
        ([((*POINT, "iterations"), -1)], "environments.PointGoal: iterations is -1; give an integ"),
        ([((*POINT, "iterations"), None)], "environments.PointGoal: iterations is None; give an "),
        ([((*POINT, "iterations"), 2.0)], "environments.PointGoal: iterations is 2.0; give an int"),
        ([((*POINT, "tasks"), True)], "environments.PointGoal: tasks is True; give an integer"),
        ([((*POINT, "clip"), "5e-1")], "environments.PointGoal: clip is '5e-1'; give a number"),
        ([((*POINT, "discount"), float("nan"))], "environments.PointGoal: discount is nan; give"),
        ([((*POINT, "discount"), 1.5)], "environments.PointGoal: discount is 1.5; give a number"),
        ([((*POINT, "hidden_sizes"), 8)], "environments.PointGoal: hidden_sizes is 8; give a list"),
        ([((*POINT, "hidden_sizes"), [8, "8"])], "environments.PointGoal: hidden_sizes is (8, '8'"),
        ([((*POINT, "activation"), "elu")], "environments.PointGoal: activation is 'elu'; choose "),
        (
            [(("environments", "metarl.environments.half_cheetah:HalfCheetah"), {})],
            "environments.metarl.environments.half_cheetah:HalfCheetah: environment 'metarl.envir",
        ),
        ([(("environments", "Ant"), {})], "environments.Ant: unknown environment 'Ant'; choose "),
        (
            [(("algorithms", "maml_trpo", "settings"), {"outer_optimizer": "trpo"})],
            "environments.PointGoal with algorithms.maml_trpo: outer_epochs, inner_kl_coefficient ",
        ),
        (
            [((*POINT, "inner_kl_coefficient"), 0.0), ((*POINT, "inner_kl_target"), 0.1)],
            "environments.PointGoal: inner_kl_coefficient is 0.0; give a number > 0 to start ",
        ),
        (
            [(("published", "PointGoal_finn2017", "settings", "tasks"), 0)],
            "published.PointGoal_finn2017.settings: tasks is 0; give an integer >= 1",
        ),
        (
            [(("published", "Ant"), SMOKE["published"]["PointGoal_finn2017"])],
            "published.Ant.settings: unknown environment 'Ant'",
        ),
        (
            [(("base_seed",), 2**63)],
            "base_seed: got 9223372036854775808; allowed: numbers up to 461168601",
        ),
        ([(("seeds",), [0, 2**63])], "seeds.1: got 9223372036854775808; allowed: numbers up to "),
        ([(("seeds",), [0, 0])], "seeds: got [0, 0]; allowed: each once"),
        (
            [(("convergence", "iterations"), 2**31)],
            "convergence: iterations is 2147483648; give an",
        ),
        (
            [(("published", "PointGoal_finn2017", "deviations", 0), 0)],
            "published.PointGoal_finn2017.deviations.0: got 0; allowed: numbers above 0",
        ),
        (
            [(("claims", "visible_bias_min"), -0.1)],
            "claims.visible_bias_min: got -0.1; allowed: numbers above",
        ),
        # names
        (
            [(("audit", "mujoco", "rates", "estimators"), ["learn2learn_dice_as_coded"])],
            "audit.mujoco.rates.estimators: got 'learn2learn_dice_as_coded', which adapts to a the",
        ),
        (
            [(("algorithms", "lsf", "estimator"), "LSF")],
            "algorithms.lsf.estimator: got 'LSF'; allowed: fomaml, maml, lvc, dice, loaded_dice, ",
        ),
        (
            [(("audit", "exact", "estimators"), ["lsf", "promp"])],
            "audit.exact.estimators: got 'promp'; allowed: fomaml, maml, ",
        ),
        (
            [(("convergence", "estimators"), ["promp"])],
            "convergence.estimators: got 'promp'; allowed: fomaml, ",
        ),
        (
            [(("sample_size_study", "environment"), "HalfCheetahVel")],
            "sample_size_study.environment: got 'HalfCheetahVel'; allowed: PointGoal, HalfCheetahD",
        ),
        (
            [(("sample_size_study", "algorithms"), ["lsf", "dice"])],
            "sample_size_study.algorithms: got 'dice'; allowed: lsf, unbiased, maml_trpo",
        ),
        (
            [(("audit", "mujoco", "algorithm"), "dice")],
            "audit.mujoco.algorithm: got 'dice'; allowed: lsf, unbiased, maml_trpo",
        ),
        ([(("audit", "mujoco", "seed"), 1)], "audit.mujoco.seed: got 1; allowed: 0"),
        (
            [(("audit", "mujoco", "bias", "estimators"), ["promp"])],
            "audit.mujoco.bias.estimators: got 'promp'; allowed: fomaml, ",
        ),
        (
            [(("audit", "mujoco", "bias", "sample_sizes"), [3, 4])],
            "audit.mujoco.bias.sample_sizes: got 4, which the rates of PointGoal have too",
        ),
        (
            [((*POINT, "audit"), {"rates": {"sample_sizes": [2, 3]}})],
            "audit.mujoco.bias.sample_sizes: got 3, which the rates of PointGoal have too",
        ),
        ([((*POINT, "audit"), {"steps": 3})], "environments.PointGoal.audit: unknown key steps"),
        (
            [(("audit", "mujoco", "rates", "estimators"), ["lsf", "leave_one_out"])],
            "audit.mujoco.rates: leave_one_out needs left_out of at least 1; got 0",
        ),
        (
            [(("audit", "mujoco", "pilot"), 5)],
            "audit.mujoco.rates: pilot is 5; give 0, or an integer from 3 to replicates, 4",
        ),
        ([(("comparison",), ["Ant"])], "comparison: unknown environment 'Ant'; choose one of "),
        # what has to go together
        (
            [(("sample_size_study", "trajectories"), [9])],
            "sample_size_study.trajectories: got 9; allowed: up to 8, ",
        ),
        (
            [(("sample_size_study", "trajectories"), [4])],
            "sample_size_study.trajectories: got 4; allowed: up to 8, ",
        ),
        (
            [
                (("audit", "exact", "problems", name, "judged"), False)
                for name in ("bandit", "chain")
            ],
            "audit.exact.problems: none is judged",
        ),
        (
            [(("audit", "exact", "problems", "chain"), DROP)],
            "audit.exact.problems: got bandit, stopping; the figure estimator_matrix shows chain",
        ),
        (
            [(("training_defaults", "inner_steps"), 2)],
            "audit.mujoco.algorithm: got 'lsf', which no environment trains with inner_steps 1",
        ),
        (
            [(("published", "PointGoal_finn2017", "deviations"), [1.0])],
            "published.PointGoal_finn2017.deviations: got 1 numbers; allowed: 4, ",
        ),
        (
            [(("published", "PointGoal_finn2017", "figure"), "paths")],
            "published.PointGoal_finn2017.figure: got 'paths'; allowed: ",
        ),
        ([(("claims", "confidence"), 1.5)], "claims: criterion confidence is 1.5: give a number"),
        ([(("claims", "confidence"), DROP)], "claims: criterion confidence is missing"),
        ([(("claims", "luck"), 1.0)], "claims: criterion luck is unknown"),
        # sizes beyond the machine
        (
            [((*POINT, "trajectories"), 10**9)],
            "training_defaults with environments.PointGoal: tasks, trajectories, horizon, hidden_s",
        ),
        (
            [(("training_defaults", "hidden_sizes"), [10**6, 10**6])],
            "training_defaults: tasks, trajectories, horizon, hidden_sizes, inner_steps, ite",
        ),
        (
            [(("published", "PointGoal_finn2017", "settings", "tasks"), 10**12)],
            "training_defaults with published.PointGoal_finn2017.settings: tasks, trajectories, ",
        ),
        (
            [((*POINT, "iterations"), 10**9)],
            "training_defaults with environments.PointGoal: tasks,",
        ),
        (
            [(("audit", "exact", "problems", "bandit", "sample_sizes"), [4, 10**6])],
            "audit.exact.problems.bandit: sample_sizes is [4, 1000000]; give those of at most ",
        ),
        (
            [(("convergence", "problems", "chain"), {"sample_sizes": [4, 64], "seeds": 3})],
            "convergence.problems.chain: sample_sizes is [4, 64]; give those of at most 20000 dist",
        ),
        ([(("evaluation", "tasks"), 10**9)], "evaluation: tasks, trajectories, horizon, "),
        (
            [(("published", "PointGoal_finn2017", "evaluation", "tasks"), 10**9)],
            "published.PointGoal_finn2017.evaluation: tasks, trajectories, ",
        ),
        (
            [((*POINT, "iterations"), 10**7), (("sample_size_study", "trajectories"), [10**7])],
            "sample_size_study.trajectories: tasks, trajectories, ",
        ),
        ([(("audit", "monte_carlo", "replicates"), 10**9)], "audit.monte_carlo: replicates, samp"),
        (
            [(("audit", "mujoco", "bias", "replicates"), 10**9)],
            "audit.mujoco.bias: replicates, outer_sample_",
        ),
        (
            [(("audit", "mujoco", "rates", "outer_sample_size"), 10**9)],
            "audit.mujoco.rates: replicates, outer_sample_size, tasks, sample_sizes are 4, 1000000",
        ),
        (
            [(("convergence", "problems", "bandit", "seeds"), 10**9)],
            "convergence: seeds, step_sizes, sample_sizes are",
        ),
        (
            [(("convergence", "problems", "bandit"), [2, 4])],
            "convergence.problems.bandit: got [2, 4]",
        ),
        ([(("results",), "mine.yaml")], "results: got 'mine.yaml', where nothing can be written; "),
        ([(("results",), "/proc/x")], "results: got '/proc/x', where nothing can be written; "),
        ([(("results",), "/dev/null")], "results: got '/dev/null', where nothing can be written; "),
        ([(("figures",), "mine.yaml/a")], "figures: got 'mine.yaml/a', where nothing can be "),
    ],
)
def test_a_fault_is_one_line(folder, changes, line):
    assert refusal(write(folder / "mine.yaml", changed(*changes))).startswith(f"mine.yaml: {line}")


def test_files_that_state_everything_are_read_alike(folder):
    """As all were before there were defaults and deviations."""
    whole = {key: value for key, value in SMOKE.items() if key != "training_defaults"}
    defaults = SMOKE["training_defaults"]
    whole["environments"] = {
        name: defaults | stated for name, stated in SMOKE["environments"].items()
    }
    whole["published"] = {
        name: run | {"settings": defaults | run["settings"], "evaluation": SMOKE["evaluation"]}
        for name, run in SMOKE["published"].items()
    }
    config = read_configuration(write(folder / "mine.yaml", whole))
    assert training_runs(config) == training_runs(SMOKE)
    assert published_runs(config) == published_runs(SMOKE)


# --- estimators --------------------------------------------------------------------------------

PLUG_IN = {
    "mine": "number = 1\ndef f(step):\n    return 0 * step.constant\n",
    "package/__init__": "",
    "package/deep": "from mine import *\n",
    "needy": "import tensorflow_that_is_not_there\n",
    "raising": "raise ValueError('one line\\nand another')\n",
    "leaving": "raise SystemExit(0)\n",
    "broken": "def f(:\n",
}


@pytest.fixture
def plug_ins(folder) -> Iterator[Path]:
    """A folder with plug-ins, of which none stays imported."""
    for name, source in PLUG_IN.items():
        (folder / f"{name}.py").parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source)
    yield folder
    for name in ("mine", "package", "package.deep"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "name", ["mine:f", "package.deep:f", "math:exp", "metarl.audit.controls:doubled"]
)
def test_a_plug_in_that_can_be_imported_is_accepted(plug_ins, name):
    config = changed((("algorithms", "lsf", "estimator"), name))
    read_configuration(write(plug_ins / "mine.yaml", config))


@pytest.mark.parametrize("key", ["algorithms.lsf.estimator", "audit.exact.estimators"])
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nosuch:f", "cannot import estimator 'nosuch:f' (ModuleNotFoundError: No module named"),
        ("mine.deep:f", "cannot import estimator 'mine.deep:f' (ModuleNotFoundError: "),
        ("package.nosuch:f", "cannot import estimator 'package.nosuch:f' (ModuleNotFoundError: "),
        ("needy:f", "cannot import estimator 'needy:f' (ModuleNotFoundError: No module named"),
        ("mine:g", "cannot import estimator 'mine:g' (AttributeError: "),
        ("raising:f", "cannot import estimator 'raising:f' (ValueError: one line and another); "),
        ("leaving:f", "cannot import estimator 'leaving:f' (SystemExit: 0); give package.module:"),
        ("broken:f", "cannot import estimator 'broken:f' (SyntaxError: invalid syntax (broken.py,"),
        ("mine:number", "estimator is mine:number; give a function, package.module:function"),
        ("metarl.audit.controls:sing_error", "got 'metarl.audit.controls:sing_error', but there"),
        ("metarl.nosuch:f", "got 'metarl.nosuch:f', but there is no such function"),
        ("mine:f:g", "got 'mine:f:g'; allowed: fomaml, "),
        ("mine:", "got 'mine:'; allowed: fomaml, "),
    ],
)
def test_a_plug_in_that_cannot_be_imported_is_one_line(plug_ins, key, name, line):
    given = name if key.endswith("estimator") else ["lsf", name]
    message = refusal(write(plug_ins / "mine.yaml", changed((tuple(key.split(".")), given))))
    assert message.startswith(f"mine.yaml: {key}: {line}")


def test_our_own_estimators_are_looked_up_without_tensorflow():
    """Which metarl.audit.controls imports: it would cost every call of Snakemake seconds."""
    code = (
        "import sys; from metarl.configuration import read_configuration as read; "
        f"read({str(CONFIG / 'config.yaml')!r}); sys.exit('tensorflow' in sys.modules)"
    )
    assert "metarl.audit.controls:doubled" in SMOKE["audit"]["exact"]["estimators"]
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_those_of_the_package():
    from metarl.audit.problems import PROBLEMS
    from metarl.estimators import CATALOGUE

    assert set(estimator_losses()) == set(CATALOGUE)
    schema = yaml.safe_load(SCHEMA.read_text())
    problems = schema["properties"]["audit"]["properties"]["exact"]["properties"]["problems"]
    assert problems["propertyNames"]["pattern"] == f"^({'|'.join(PROBLEMS)})(-[0-9]+)?$"
