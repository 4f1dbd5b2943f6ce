"""The workflow as its users call it, in a copy of the tree.

All but the last test are about which jobs run. Where jobs have to run, a stub stands in the place
of the `metarl` command and writes what it is asked for. The last one runs the smoke scale for real.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from metarl.configuration import claim_tables, read_configuration
from metarl.figures import FIGURES as DRAWINGS
from snakemake_logger_plugin_metarl.forecast import work

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "archive", "config", "profiles", "src", "workflow")
SMOKE = ("--configfile", "config/smoke.yaml")
FIGURES = sorted(
    [
        *(f"{drawing.name}.{suffix}" for drawing in DRAWINGS for suffix in drawing.formats),
        "claims.md",
        "claims.json",
        "index.html",
    ]
)
SMOKE_FIGURES = "results/smoke/figures"
COMMITTED = sorted(path.name for path in (ROOT / "paper_figures").iterdir())
OF_NO_RUN = {"bench.json", "stability.md"}  # the machine's, and of several runs
PAGE = {"page": 1}  # which shows all figures
SIMULATED = {"draw_sampled_audit": 1, "draw_estimator_matrix": 1, **PAGE}
RETURNS = {
    **SIMULATED,
    "draw_learning_curves": 1,
    "draw_sample_sizes": 1,
    "draw_adaptation": 1,
    "judge_claims": 1,
}
TRAINED = {"train_PointGoal": 3, "train_HalfCheetahDir": 3}  # at the smoke scale
PAPER = (
    *("PointGoal", "HalfCheetahDir", "HalfCheetahVel", "AntDir", "AntDir2D", "AntGoal", "AntVel"),
    *("Walker2DDir", "Walker2DVel", "SwimmerVel", "HumanoidDir2D", "HopperRandParams"),
    "Walker2DRandParams",
)
DRAWN = {f"draw_{drawing.name}": 1 for drawing in DRAWINGS}
STUB = """#!/usr/bin/env bash
command=$1
name=$2
while [ $# -gt 1 ]; do
  case $1 in
    --output) output=$2 ;;
    --policy) policy=$2 ;;
    --seeds) for word in "${@:2}"; do [[ $word =~ ^[0-9]+$ ]] || break; seeds+=" $word"; done ;;
  esac
  shift
done
case $command in
  train) for seed in $seeds; do touch "${output/"{seed}"/$seed}" "${policy/"{seed}"/$seed}"; done ;;
  figure) touch "$output.svg" "$output.png" "$output.md" ;;
  claims) touch "$output/claims.md" "$output/claims.json" ;;
  *) touch "$output" ;;
esac
"""


def copy_tree(folder: Path) -> Path:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return folder


def snakemake(tree: Path, *arguments: str, target: str = "all") -> subprocess.CompletedProcess:
    """Calls `snakemake TARGET` in `tree` with the tree's package and, if it has one, its stub."""
    path = [str(tree / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PATH": os.pathsep.join(path)}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", target, *arguments],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )


def planned(tree: Path, *arguments: str, target: str = "all") -> dict[str, int]:
    """The jobs that a dry run announces: rule to count, without the target."""
    result = snakemake(tree, "--dry-run", *arguments, target=target)
    assert result.returncode == 0, result.stdout
    statistics = re.findall(r"^(\w+) +(\d+)$", result.stdout, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in statistics if rule not in (target, "total")}


@contextmanager
def rewritten(path: Path, text: str) -> Iterator[None]:
    """`path` with the content `text` for a while; its own content comes back with a new date."""
    content = path.read_text()
    assert text != content
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(content)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """A tree in which nothing was run."""
    return copy_tree(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A tree in which the smoke scale was run with the stub."""
    tree = copy_tree(tmp_path_factory.mktemp("finished"))
    stub = tree / "bin" / "metarl"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    result = snakemake(tree, *SMOKE)
    assert result.returncode == 0, result.stdout
    (tree / "said.txt").write_text(result.stdout)
    return tree


@pytest.mark.parametrize(
    ("scale", "runs", "study", "problems", "sampled"),
    [
        (
            "config",
            dict.fromkeys(("PointGoal", "HalfCheetahDir", "ReacherGoal"), 6),
            4,
            6,
            (1, 6, 2),
        ),
        ("smoke", {"PointGoal": 3, "HalfCheetahDir": 3}, 2, 3, (1, 4, 1)),
        ("paper", dict.fromkeys(PAPER, 10), 8, 6, (1, 24, 2)),
    ],
)
def test_each_scale_plans_its_own_runs_only(fresh, scale, runs, study, problems, sampled):
    """A job is a configuration with all its seeds."""
    arguments = () if scale == "config" else ("--configfile", f"config/{scale}.yaml")
    assert planned(fresh, *arguments) == {
        "audit_exact": problems,
        "audit_limit": 1,
        **({} if scale == "smoke" else {"initial_policy": sampled[1] // 2}),  # audits trained ones
        **dict(zip(("audit_monte_carlo", "audit_mujoco", "converge"), sampled, strict=True)),
        **{f"train_{environment}": count for environment, count in runs.items()},
        "train_study": study,
        "evaluate": sum(runs.values()),
        "film": len(runs),
        **DRAWN,
        "judge_claims": 1,
        **PAGE,
    }


@pytest.mark.parametrize("target", ["all", "published"])
def test_every_rule_that_takes_its_time_states_how_much(fresh, target):
    """The others draw, judge and copy, in seconds."""
    light = {rule for rule in planned(fresh, target=target) if not work(rule)}
    assert light == ({*DRAWN, *PAGE, "judge_claims"} if target == "all" else {"archive_published"})


def test_a_published_run_that_is_not_kept_yet_is_waited_for_by_nothing(fresh):
    """`published` makes it; `all` draws and judges the others."""
    kept = fresh / "archive/PointGoal_finn2017_returns.parquet"
    aside = kept.rename(fresh / "aside")
    plan = planned(fresh, *SMOKE)
    aside.rename(kept)
    assert (plan["draw_published_returns"], plan["judge_claims"]) == (1, 1)
    assert "draw_point_paths" not in plan


@pytest.mark.parametrize("given", ["--directory", "--snakefile"])
def test_results_may_stand_elsewhere(fresh, tmp_path, given):
    """The same jobs: sources and archived runs are found beside the Snakefile."""
    where, arguments = (
        (fresh, ("--directory", str(tmp_path)))
        if given == "--directory"
        else (tmp_path, ("--snakefile", str(fresh / "Snakefile"), "--cores", "1"))
    )
    environment = {**os.environ, "PYTHONPATH": str(fresh / "src")}
    configuration = ("--configfile", str(fresh / "config/smoke.yaml"))
    command = [sys.executable, "-m", "snakemake", "all", "--dry-run", *arguments, *configuration]
    result = subprocess.run(
        command, cwd=where, env=environment, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    said = result.stdout + result.stderr
    total = sum(planned(fresh, *SMOKE).values()) + 1  # and the target
    assert re.search(rf"^total +{total}$", said, flags=re.MULTILINE)


@pytest.mark.parametrize("scale", ["config", "smoke", "paper"])
def test_no_target_but_paper_figures_writes_outside_the_results(fresh, scale):
    config = read_configuration(fresh / f"config/{scale}.yaml")
    assert Path(config["figures"]).is_relative_to(config["results"])
    result = snakemake(fresh, "--summary", "--configfile", f"config/{scale}.yaml")
    made = [line.split("\t")[0] for line in result.stdout.splitlines() if "\tmissing\t" in line]
    assert len(made) > 50
    assert [file for file in made if not Path(file).is_relative_to(config["results"])] == []


def test_paper_figures_are_what_the_repository_keeps_of_a_run(finished):
    """Copied over committed ones of any date, by this target alone."""
    kept = finished / "paper_figures"
    assert not kept.exists()
    kept.mkdir()
    for name in COMMITTED:
        (kept / name).write_text("of an earlier run\n")
    smoke, default = (
        yaml.safe_load((finished / f"config/{scale}.yaml").read_text())
        for scale in ("smoke", "config")
    )
    del smoke["extends"]
    text = yaml.safe_dump({**default, **smoke}, sort_keys=False)  # flags are in the file's order
    with rewritten(finished / "config/config.yaml", text):
        result = snakemake(finished, target="paper_figures")
    assert result.returncode == 0, result.stdout
    assert sorted(path.name for path in kept.iterdir()) == COMMITTED
    for name in set(COMMITTED) - OF_NO_RUN:
        assert (kept / name).read_bytes() == (finished / SMOKE_FIGURES / name).read_bytes()
    for name in OF_NO_RUN:
        assert (kept / name).read_text() == "of an earlier run\n"
    shutil.rmtree(kept)


@pytest.mark.parametrize("arguments", [SMOKE, ("--config", "base_seed=1000")])
def test_no_other_scale_becomes_paper_figures(finished, arguments):
    result = snakemake(finished, *arguments, target="paper_figures")
    assert result.returncode == 2
    (line,) = [text for text in result.stdout.splitlines() if "profile" not in text]
    assert line.startswith("paper_figures shows what config/config.yaml gives, and ")
    assert not (finished / "paper_figures").exists()


def test_audits_are_judged_without_training(fresh):
    """With other random streams too, whose policies are others."""
    plan = planned(fresh, "--config", "base_seed=1000", "results=other", target="audits")
    assert not [rule for rule in plan if rule.startswith(("train", "evaluate", "film", "draw"))]
    assert (plan["initial_policy"], plan["audit_mujoco"], plan["judge_audits"]) == (3, 6, 1)


def test_claims_take_the_tables_of_the_workflow(fresh, monkeypatch):
    """`metarl claims` with a configuration, and the rule that calls it."""
    monkeypatch.chdir(fresh)
    result = snakemake(fresh, "--dry-run", "--printshellcmds", *SMOKE)
    (command,) = re.findall(r"metarl claims --criteria .*", result.stdout)
    words = shlex.split(command.partition(">")[0])
    given: dict[str, list[str]] = {}
    for word in words[2:]:
        if word.startswith("--"):
            given[word[2:]] = []
        else:
            list(given.values())[-1].append(word)
    tables = claim_tables(read_configuration(Path("config/smoke.yaml")))
    assert {kind: sorted(paths) for kind, paths in tables.items()} == {
        kind: sorted(given[kind]) for kind in tables
    }


def test_promps_comparison_is_the_training_of_its_scale(fresh):
    plan = planned(fresh, "--configfile", "config/promp.yaml", target="comparison")
    environments = ("HalfCheetahDir", "HopperRandParams")
    trained = {f"train_{environment}": 5 for environment in environments}
    assert plan == {**trained, "archive_comparison": len(environments)}
    assert environments == tuple(read_configuration(fresh / "config/config.yaml")["comparison"])


def test_other_scales_have_no_comparison(fresh):
    result = snakemake(fresh, "--dry-run", target="comparison")
    assert result.returncode == 2
    (line,) = [text for text in result.stdout.splitlines() if "profile" not in text]
    assert line.startswith("comparison archives runs in HalfCheetahDir, HopperRandParams, and Hopp")
    assert line.endswith("give --configfile config/promp.yaml")


@pytest.mark.parametrize(("scale", "runs"), [("config", (14, 4)), ("smoke", (3, 3))])
def test_runs_with_published_settings_are_made_on_request_alone(fresh, scale, runs):
    """`all`'s own jobs are counted above; none is theirs, though an edit may have outdated them."""
    plan = planned(fresh, "--configfile", f"config/{scale}.yaml", target="published")
    seeds, environments = runs
    assert plan == {
        "train_published": seeds,
        "evaluate_published": seeds,
        "archive_published": environments,
    }


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("  horizon:", "  horizn:"), "config/bad.yaml: training_defaults: unknown key horizn; "),
        (
            ("outer_epochs: 1, ", ""),
            "config/bad.yaml: environments.PointGoal with algorithms.maml_",
        ),
        (
            ("s: config.yaml", "s: nosuch.yaml"),
            "config/bad.yaml: extends: got 'nosuch.yaml'; allowed: ",
        ),
        (("s: config.yaml", "s: torn.yaml"), "config/torn.yaml, line 1: no YAML (expected "),
    ],
)
def test_a_bad_configuration_is_one_line_and_no_traceback(fresh, change, line):
    (fresh / "config/torn.yaml").write_text("seeds: [")
    text = (fresh / "config/smoke.yaml").read_text()
    (fresh / "config/bad.yaml").write_text(text.replace(*change))
    result = snakemake(fresh, "--dry-run", "--configfile", "config/bad.yaml")
    lines = [printed for printed in result.stdout.splitlines() if "profile" not in printed]
    assert result.returncode == 2
    assert len(lines) == 1 and lines[0].startswith(line)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "mine.yaml: No such file or directory; give a file such as config/config.yaml"),
        ("a: [", "mine.yaml, line 1: no YAML (expected "),
    ],
)
def test_a_configuration_that_cannot_be_read_is_one_line(fresh, content, line):
    """Which Snakemake reads before the Snakefile."""
    (fresh / "mine.yaml").unlink(missing_ok=True)
    if content:
        (fresh / "mine.yaml").write_text(content)
    result = snakemake(fresh, "--dry-run", "--configfile", "mine.yaml")
    lines = [printed for printed in result.stdout.splitlines() if "profile" not in printed]
    assert result.returncode == 2
    assert len(lines) == 1 and lines[0].startswith(line)


def test_a_torn_default_configuration_is_one_line(fresh):
    config = fresh / "config/config.yaml"
    with rewritten(config, config.read_text() + "seeds: [\n"):
        result = snakemake(fresh, "--dry-run")
    lines = [text for text in result.stdout.splitlines() if "profile" not in text]
    assert result.returncode == 2
    assert len(lines) == 1 and re.match(r"config/config\.yaml, line \d+: no YAML", lines[0])


def test_sections_are_overridden_on_the_command_line(fresh):
    plan = planned(
        fresh,
        *SMOKE,
        "--config",
        "results=elsewhere",
        target="elsewhere/train/PointGoal/lsf/N2/seed_0.npz",
    )
    assert plan == {"train_study": 1}


def test_one_configuration_at_a_time(fresh):
    result = snakemake(fresh, "--dry-run", *SMOKE, "config/paper.yaml")
    assert result.returncode == 2
    assert "--configfile names 2 files; give one" in result.stdout


def test_the_cluster_profile_plans_the_same_jobs(fresh):
    plan = planned(fresh, *SMOKE, "--workflow-profile", "profiles/slurm")
    assert plan == planned(fresh, *SMOKE)


def test_a_line_when_a_job_starts_and_ends(finished):
    """Of every job, with the number of those that are done; nothing of inputs."""
    said = (finished / "said.txt").read_text()
    total = int(re.search(r"jobs to run: (\d+)$", said, flags=re.MULTILINE)[1])
    assert len(re.findall(r"^..:..:..  start  ", said, flags=re.MULTILINE)) == total
    ends = re.findall(r"^..:..:..  end    .*; (\d+) of (\d+) jobs", said, flags=re.MULTILINE)
    assert ends == [(str(number), str(total)) for number in range(1, total + 1)]
    assert "start  training of lsf on PointGoal, seeds 0" in said
    assert "start  training of lsf on PointGoal, seeds 0, N = 2" in said
    assert "input:" not in said


def test_a_job_that_fails_is_named_with_its_log(fresh):
    stub = fresh / "bin" / "metarl"
    stub.parent.mkdir()
    stub.write_text("#!/usr/bin/env bash\necho metarl: it went wrong\nexit 1\n")
    stub.chmod(0o755)
    said = snakemake(fresh, *SMOKE, target="results/smoke/audit/limit.parquet").stdout
    shutil.rmtree(stub.parent)
    log = "results/smoke/logs/audit/limit.log"
    assert f"FAILED limits of large N  (log: {log}, which ends in)" in said
    assert "metarl: it went wrong" in said and "input:" not in said


def test_a_second_call_does_nothing(finished):
    assert planned(finished, *SMOKE) == {}


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("cli/parse.py", {}),
        ("figures/learning_curves.py", {"draw_learning_curves": 1, **PAGE}),
        (
            "figures/exact_audit.py",
            dict.fromkeys(
                (
                    *("draw_exact_audit", "draw_published_code", "draw_budget"),
                    *("draw_estimator_matrix", "page"),
                ),
                1,
            ),
        ),
        ("figures/published_code.py", {"draw_published_code": 1, **PAGE}),
        ("figures/adaptation.py", {"draw_adaptation": 1, **PAGE}),
        ("claims/__init__.py", {"judge_claims": 1, **PAGE}),
        ("report_page/charts.py", PAGE),
        (
            "audit/exact.py",
            {
                "audit_exact": 3,
                "audit_limit": 1,
                "converge": 1,
                "draw_exact_audit": 1,
                "draw_published_code": 1,
                "draw_budget": 1,
                "draw_estimator_matrix": 1,
                "draw_convergence": 1,
                "judge_claims": 1,
                **PAGE,
            },
        ),
        (
            "audit/monte_carlo.py",
            {"audit_monte_carlo": 1, "draw_sampled_audit": 1, "judge_claims": 1, **PAGE},
        ),
        (  # which the configuration alone names
            "audit/controls.py",
            {
                "audit_exact": 3,
                "audit_limit": 1,
                "audit_monte_carlo": 1,
                "audit_mujoco": 2,  # the biases
                "draw_exact_audit": 1,
                "draw_published_code": 1,
                "draw_budget": 1,
                "draw_estimator_matrix": 1,
                **SIMULATED,
                "judge_claims": 1,
            },
        ),
        ("audit/mujoco.py", {"audit_mujoco": 4, **SIMULATED, "judge_claims": 1}),
        ("evaluation.py", {"evaluate": 6, "draw_adaptation": 1, "judge_claims": 1, **PAGE}),
        (
            "environments/point_goal.py",
            {"train_PointGoal": 3, "train_study": 2, "evaluate": 3, "audit_mujoco": 2, **RETURNS}
            | {"film": 1},
        ),
        (
            "training/train.py",
            {**TRAINED, "train_study": 2, "evaluate": 6, "audit_mujoco": 4, **RETURNS}
            | {"film": 2},
        ),
    ],
)
def test_an_edit_reruns_what_depends_on_it(finished, file, jobs):
    source = finished / "src/metarl" / file
    with rewritten(source, source.read_text() + "# edited\n"):
        assert planned(finished, *SMOKE) == jobs


def test_the_report_quotes_the_configuration(finished):
    result = snakemake(finished, *SMOKE, "--report", "report.html")
    assert result.returncode == 0, result.stdout
    report = (finished / "report.html").read_text()
    for quoted in ("4 tasks x", "problem: 4, 8, 16, 32.", "Seeds: 0, where", "0.95 confidence"):
        assert quoted in report
    assert f'href=\\"{SMOKE_FIGURES}/index.html\\"' in report  # from beside it


def test_a_new_seed_asks_for_training_alone(finished):
    """In one job with the seeds before it, which metarl does not run again: see test_train."""
    config = finished / "config/smoke.yaml"
    with rewritten(config, config.read_text().replace("seeds: [0]", "seeds: [0, 1]")):
        plan = planned(finished, *SMOKE)
    assert plan == {
        **TRAINED,
        "train_study": 2,
        "evaluate": 6,
        "audit_mujoco": 4,  # of a policy that the job of the new seed writes again, the same
        "film": 2,  # likewise
        **RETURNS,
    }


def test_a_setting_reruns_its_environment_alone(finished):
    config = finished / "config/smoke.yaml"
    rate = "PointGoal: {inner_learning_rate: "
    with rewritten(config, config.read_text().replace(f"{rate}0.5", f"{rate}0.25")):
        plan = planned(finished, *SMOKE)
    assert (plan["train_PointGoal"], plan["train_study"], plan["evaluate"]) == (3, 2, 3)
    assert not {"audit_exact", "train_HalfCheetahDir"} & plan.keys()


@pytest.mark.slow
def test_the_smoke_scale_from_end_to_end(tmp_path):
    tree = copy_tree(tmp_path)
    committed = tree / "paper_figures" / "claims.md"
    committed.parent.mkdir()
    committed.write_text("the default scale's verdicts\n")

    result = snakemake(tree, *SMOKE)
    assert result.returncode == 0, result.stdout
    results = tree / "results/smoke"
    assert sorted(path.name for path in (results / "figures").iterdir()) == FIGURES
    assert len(list(results.glob("train/*/*/seed_0.parquet"))) == 6
    assert len(list(results.glob("train/*/*/N2/seed_0.parquet"))) == 2
    assert len(list(results.glob("evaluate/*/*.parquet"))) == 6
    assert len(list(results.glob("audit/exact_*.parquet"))) == 3
    assert len(list(results.glob("audit/mujoco_*.parquet"))) == 4
    assert len(list(results.glob("audit/monte_carlo.parquet"))) == 1
    assert len(list(results.glob("films/*.webp"))) == 2
    assert len(list(results.glob("convergence/*.parquet"))) == 1
    assert all(path.stat().st_size for path in results.rglob("*.parquet"))

    assert planned(tree, *SMOKE) == {}
    assert {path.name for path in committed.parent.iterdir()} == {"claims.md"}
    assert committed.read_text() == "the default scale's verdicts\n"
