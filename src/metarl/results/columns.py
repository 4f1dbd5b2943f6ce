"""The contract of every table: its columns, their dtypes and what they mean.

Writers (`metarl.results.writer`) and readers (`metarl.results.tables`) both hold a parquet file
against it. Constants alone, so that editing a reader reruns nothing that writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.95  # of intervals, where none is given; the workflow gives that of its criteria
MINIMUM_SEEDS = 3  # of an interval over seeds


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
      name: in the parquet file.
      dtype: pandas's name of it.
      meaning: what a value is, with its unit if it has one.
      key: whether it tells rows apart; no two rows of a table share all their keys.
    """

    name: str
    dtype: Literal["str", "int64", "float64", "float32"]
    meaning: str
    key: bool = False


@dataclass(frozen=True)
class Table:
    """What a parquet file holds, in this order.

    Attributes:
      name: for messages.
      columns: all of them.
    """

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def keys(self) -> list[str]:
        return [column.name for column in self.columns if column.key]

    @property
    def dtypes(self) -> dict[str, str]:
        return {column.name: column.dtype for column in self.columns}


def _texts(key: bool = False, **meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "str", meaning, key) for name, meaning in meanings.items())


def _integers(key: bool = False, **meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "int64", meaning, key) for name, meaning in meanings.items())


def _numbers(key: bool = False, **meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "float64", meaning, key) for name, meaning in meanings.items())


def _positions(**meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "float32", meaning) for name, meaning in meanings.items())


def _with_ends(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Each followed by the ends of its interval."""
    return tuple(
        Column(f"{column.name}{end}", column.dtype, f"{column.meaning}{text}")
        for column in columns
        for end, text in (
            ("", ""),
            ("_low", ": lower end of its interval"),
            ("_high", ": upper end of its interval"),
        )
    )


SAMPLE_SIZE = _integers(key=True, sample_size="N, inner trajectories of a task and inner step")
ESTIMATOR = _texts(key=True, estimator="its name: see `metarl estimators`")
RUN = (
    *_texts(
        key=True,
        algorithm="name of an estimator plus an outer optimizer plus settings",
        environment="name of the task distribution",
    ),
    *ESTIMATOR,
    *_integers(key=True, seed="of every random stream of the run"),
)
INNER_STEP = _integers(key=True, inner_step="inner steps taken before: 0 is before adaptation")
TASK = _integers(key=True, task="number of the held-out task")
MEAN_RETURN = _numbers(mean_return="sum of rewards, undiscounted, the mean over trajectories")

EXACT = Table(
    "exact audit",
    (
        *_texts(key=True, problem="finite problem, or a random instance of one: chain-3"),
        *ESTIMATOR,
        *SAMPLE_SIZE,
        *_numbers(
            bias="||E g_hat - grad J_N||",
            relative_bias="bias / ||grad J_N||",
            variance="E ||g_hat - E g_hat||^2",
            gradient_norm="||grad J_N||",
        ),
        *_texts(counterpart="of published code: the entry that its paper describes; else empty"),
    ),
)

LIMIT = Table(
    "limit audit",
    (
        *_texts(key=True, problem="finite problem, or a random instance of one: chain-3"),
        *ESTIMATOR,
        *_integers(bias_order="s: as N grows, bias / N^s approaches bias_coefficient"),
        *_numbers(
            bias_coefficient="of the leading term; 0: no term down to this order",
            bias_floor="the bias that does not vanish",
        ),
        *_integers(variance_order="s: variance / N^s approaches variance_coefficient"),
        *_numbers(
            variance_coefficient="of the leading term",
            gradient_norm="||grad J_N|| in the limit",
        ),
    ),
)

MEASURES = _numbers(
    squared_bias="||E[g_hat - reference]||^2, without bias: it may be negative",
    relative_bias="squared_bias^(1/2) / ||E reference||",
    variance="inner_variance + outer_variance: with one outer batch",
    inner_variance="Var E[g_hat | X], of the inner sample",
    outer_variance="E Var[g_hat | X], of the outer batch, which no N lowers",
    practical_variance=(
        "with a sampled outer batch of N trajectories, as practice has it; nan where not measured"
    ),
    relative_standard_deviation="variance^(1/2) / ||E g_hat||",
    cosine="of E g_hat and E reference",
)
SAMPLED = Table(
    "sampled audit",
    (
        *_texts(
            key=True,
            level="monte_carlo (tabular processes) or mujoco (simulation)",
            problem="the process, or environment and policy",
        ),
        *ESTIMATOR,
        *SAMPLE_SIZE,
        *_integers(
            replicates="R, independent samples",
            outer_sample_size="trajectories of an outer batch, for every N; 0: exact values",
        ),
        *_with_ends(MEASURES),
        *_numbers(
            gradient_norm="||E reference||",
            difference_to_lsf="||g_hat - lsf|| / ||lsf|| on the same samples, the mean over them",
            confidence="probability content of every interval of the table",
        ),
    ),
)

CONVERGENCE = Table(
    "convergence",
    (
        *_texts(key=True, problem="finite problem, or a random instance of one"),
        *ESTIMATOR,
        *SAMPLE_SIZE,
        *_numbers(key=True, epsilon="level to reach, a fraction of the first squared norm"),
        *_integers(key=True, seed="of a reported run", iteration="k, at evaluated iterations"),
        *_numbers(
            step_size="chosen for this estimator, N and epsilon",
            squared_gradient_norm="||grad F(theta_k)||^2, exact; inf where the run has diverged",
            variance="of the estimate at theta_0, exact: the same in all rows of its N",
            squared_bias="likewise",
        ),
    ),
)

TRAINING = Table(
    "training",
    (
        *RUN,
        *SAMPLE_SIZE,
        *_integers(key=True, iteration="meta-iteration, from 0"),
        *_integers(environment_steps="simulated so far, this iteration included"),
        *INNER_STEP,
        *MEAN_RETURN,
        *_numbers(
            task_std="standard deviation over tasks of their mean returns",
            gradient_norm="of the meta-gradient, in the first outer epoch",
            gradient_standard_error=(
                "of its mean over tasks, from their spread; nan for a single task"
            ),
            kl="post-update mean KL of the outer step; nan where it is not measured",
            step_accepted="whether TRPO's line search accepted a step, 1 or 0; nan for others",
            inner_kl_coefficient="of the inner KL penalty, mean over inner steps; 0: none",
            effective_sample_size="of leave_one_out's importance weights; nan for others",
        ),
    ),
)

EVALUATION = Table(
    "evaluation",
    (
        *RUN,
        *_integers(key=True, iterations="meta-iterations behind the policy"),
        *TASK,
        *INNER_STEP,
        *MEAN_RETURN,
    ),
)

PUBLISHED = Table(
    "published returns",
    (
        *EVALUATION.columns,
        *_numbers(
            published_return="published mean over held-out tasks after as many inner steps",
            published_deviation="its standard deviation over tasks",
        ),
    ),
)


def paths(task_size: int, position_size: int) -> Table:
    """The table of where bodies went, a row a step of a trajectory.

    Args:
      task_size: D, numbers that make a task.
      position_size: 1 (x) or 2 (x, y).
    """
    return Table(
        "paths",
        (
            *TASK,
            *_numbers(**{f"task_{index}": "of the task" for index in range(task_size)}),
            *_integers(
                key=True,
                trajectory="number of the trajectory, within its task",
                step="steps taken, from 1",
            ),
            *_positions(**dict.fromkeys(("x", "y")[:position_size], "position (m)")),
            *RUN,
            *INNER_STEP,
        ),
    )
