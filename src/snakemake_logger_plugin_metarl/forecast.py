"""How long the jobs that are left will take: what is expected of rules, by what jobs took."""

from collections.abc import Mapping, Sequence

# Seconds of a job on one core of the machine of paper_figures/bench.json. A picture, a table of
# verdicts; or, of the rules below, importing TensorFlow and compiling, to which comes the work that
# an average job has at the default scale.
LIGHT, START_UP = 5.0, 20.0
WORK = {  # by the rule's name or its beginning, the first that fits
    "audit_exact": 120.0,
    "audit_limit": 120.0,
    "audit_monte_carlo": 540.0,
    "audit_mujoco": 600.0,
    "converge": 160.0,
    "initial_policy": 10.0,
    "train_published": 1500.0,
    "train_": 330.0,
    "evaluate_published": 120.0,
    "evaluate": 40.0,
    "film": 10.0,
}


def work(rule: str) -> float:
    """The seconds of an average job beyond its start-up at the default scale; 0: it is light."""
    return next((seconds for name, seconds in WORK.items() if rule.startswith(name)), 0.0)


def seconds_left(
    waiting: Mapping[str, int],
    running: Sequence[tuple[str, float]],
    finished: Mapping[str, Sequence[float]],
    passed: float,
) -> float | None:
    """The time for the jobs that are left; None before a job is done that tells of them.

    A job tells if it has work, or if none that is left has any. What jobs took beyond their
    start-up is a share of their work, which scale and machine decide, and which the jobs left are
    expected to take of theirs; beside jobs of the same rule that expectation counts as one more.
    As many jobs run at a time as did so far, and no job is shorter than itself.

    Args:
      waiting: by rule, how many jobs have not started.
      running: of every job that runs, its rule and how many seconds it has run.
      finished: by rule, the seconds that each job took.
      passed: the seconds since the first job started.
    """
    left = {*waiting, *(rule for rule, _ in running)}
    declared = sum(work(rule) * len(took) for rule, took in finished.items())
    if not finished or (not declared and any(map(work, left))):
        return None
    beyond = sum(
        max(seconds - START_UP, 0.0)
        for rule, took in finished.items()
        if work(rule)
        for seconds in took
    )
    share = beyond / declared if declared else 0.0

    def cost(rule: str) -> float:
        prior = START_UP + share * work(rule) if work(rule) else LIGHT
        took = finished.get(rule, ())
        return (prior + sum(took)) / (1 + len(took))

    rests = [max(cost(rule) - seconds, 0.0) for rule, seconds in running]
    rests += [cost(rule) for rule, count in waiting.items() for _ in range(count)]
    spent = sum(map(sum, finished.values())) + sum(seconds for _, seconds in running)
    return max(sum(rests) * passed / spent, *rests, 0.0) if spent else None
