"""Anyone's own environment: named `package.module:Class`, held against the contract, trained on."""

import inspect

import numpy as np
import pandas as pd
import pytest
from gymnasium.spaces import Box

from metarl.environments import TaskVectorEnv, contract, entry_point, make
from metarl.errors import InputError
from metarl.settings import TrainingSettings
from metarl.sources import environment_module


class Corridor(TaskVectorEnv):
    """Walk to a goal in [-1, 1] that is not observed; reward: minus the distance to it."""

    preset = "corridor"
    task_size = 1

    def __init__(self, num_envs, horizon, threads=1):
        moves = Box(-0.1, 0.1, (1,), np.float64)
        super().__init__(num_envs, horizon, observation_size=1, action_space=moves)

    def sample_tasks(self, generator, count):
        return generator.uniform(-1.0, 1.0, (count, 1))

    @property
    def positions(self):
        return self._places.copy()

    def _start(self, generator):
        self._places = generator.normal(0.0, 0.05, (self.num_envs, 1))
        return self._places.copy()

    def _advance(self, actions):
        self._places = self._places + actions
        rewards = -np.abs(self._places - self._environment_tasks)[:, 0]
        return self._places.copy(), rewards, np.zeros(self.num_envs, bool)


CORRIDOR = f"""
import numpy as np
from gymnasium.spaces import Box

from metarl.environments import TaskVectorEnv


{inspect.getsource(Corridor)}
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """The corridor's file in the working directory, as a module that no other test has imported."""
    monkeypatch.chdir(tmp_path)
    name = f"corridor_of_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(CORRIDOR)
    return name


def refusal(function, *arguments) -> str:
    """The one line with which it is refused."""
    with pytest.raises(InputError) as refused:
        function(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_make_takes_a_class_of_anyones(module):
    name = f"{module}:Corridor"
    environment = make(name, tasks=2, trajectories=3, horizon=4, threads=2)
    assert type(environment).__module__ == module
    assert (environment.num_envs, environment.horizon) == (6, 4)
    environment.reset(seed=0, options={"tasks": [[0.5], [-0.5]]})
    _, rewards, *_ = environment.step(np.full((6, 1), 7.0))
    expected = -np.abs(environment.positions[:, 0] - np.repeat([0.5, -0.5], 3))
    np.testing.assert_allclose(rewards, expected)
    assert entry_point(name) == name
    assert TrainingSettings(name, "lsf", "lsf").environment == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Corridor", "cannot import environment 'no_such_module:Corridor' (Module"),
        ("MODULE:Corridors", "Corridors"),
        (":Corridor", "cannot import environment ':Corridor'"),
        ("MODULE:np", "is no TaskVectorEnv; give package.module:Class"),
        ("gymnasium.spaces:Box", "'gymnasium.spaces:Box' is no TaskVectorEnv"),
    ],
)
def test_what_is_no_class_of_environments_is_refused_by_its_name(module, name, message):
    name = name.replace("MODULE", module)
    for function, arguments in (
        (TrainingSettings, (name, "lsf", "lsf")),
        (make, (name, 1, 1, 1)),
        (environment_module, (name,)),
    ):
        assert message in refusal(function, *arguments)


def test_a_module_that_fails_is_one_line(module, tmp_path):
    (tmp_path / "failing_corridor.py").write_text("print(undefined_name)\n")
    message = refusal(make, "failing_corridor:Corridor", 1, 1, 1)
    assert "NameError: name 'undefined_name' is not defined" in message


def test_a_class_that_breaks_the_contract_is_not_made(module, tmp_path):
    path = tmp_path / "wrong_corridor.py"
    path.write_text(CORRIDOR.replace("bool)", "int)"))
    assert refusal(make, "wrong_corridor:Corridor", 1, 1, 1) == (
        "environment 'wrong_corridor:Corridor' breaks the contract of TaskVectorEnv: the third"
        " that _advance returns is int64 [4]; it must be bool [4]"
    )


def test_the_corridor_keeps_the_contract():
    contract.check_contract("corridor", Corridor)


class TwoArguments(Corridor):
    def __init__(self, num_envs, horizon):
        super().__init__(num_envs, horizon)


class OneArgumentMore(Corridor):
    def __init__(self, num_envs, horizon, length, threads=1):
        super().__init__(num_envs, horizon)


class FixedSize(Corridor):
    def __init__(self, num_envs, horizon, threads=1):
        super().__init__(8, horizon)


class NoBase(Corridor):
    def __init__(self, num_envs, horizon, threads=1):
        self.single_action_space = Box(-0.1, 0.1, (1,), np.float64)


class NoAdvance(Corridor):
    _advance = TaskVectorEnv._advance


class TwoAxes(Corridor):
    def __init__(self, num_envs, horizon, threads=1):
        TaskVectorEnv.__init__(self, num_envs, horizon, 1, Box(-1, 1, (1, 1), np.float64))


class NoPreset(Corridor):
    preset = None


class NoTaskSize(Corridor):
    task_size = None


class FlatTasks(Corridor):
    def sample_tasks(self, generator, count):
        return generator.uniform(-1.0, 1.0, count)


class Float32Tasks(Corridor):
    def sample_tasks(self, generator, count):
        return super().sample_tasks(generator, count).astype(np.float32)


class ListedTasks(Corridor):
    def sample_tasks(self, generator, count):
        return super().sample_tasks(generator, count).tolist()


class InfiniteTasks(Corridor):
    def sample_tasks(self, generator, count):
        return 1.0 / np.zeros_like(super().sample_tasks(generator, count))


class GlobalTasks(Corridor):
    def sample_tasks(self, generator, count):
        return np.random.uniform(-1.0, 1.0, (count, 1))


class FailingTasks(Corridor):
    def sample_tasks(self, generator, count):
        return generator.uniforms(-1.0, 1.0, (count, 1))


class FlatStart(Corridor):
    def _start(self, generator):
        return super()._start(generator)[:, 0]


class UnseededStart(Corridor):
    def _start(self, generator):
        return super()._start(np.random.default_rng())


class StartAtTheTask(Corridor):
    def _start(self, generator):
        super()._start(generator)
        if hasattr(self, "_environment_tasks"):  # of the last reset
            self._places += self._environment_tasks
        return self._places.copy()


class Changed(Corridor):
    """A corridor whose step returns something else."""

    def change(self, observations, rewards, terminations):
        raise NotImplementedError

    def _advance(self, actions):
        return self.change(*super()._advance(actions))


class FlatObservations(Changed):
    def change(self, observations, rewards, terminations):
        return observations[:, 0], rewards, terminations


class Float32Observations(Changed):
    def change(self, observations, rewards, terminations):
        return observations.astype(np.float32), rewards, terminations


class ColumnOfRewards(Changed):
    def change(self, observations, rewards, terminations):
        return observations, rewards[:, None], terminations


class NotANumberAsReward(Changed):
    def change(self, observations, rewards, terminations):
        return observations, np.full_like(rewards, np.nan), terminations


class OneTermination(Changed):
    def change(self, observations, rewards, terminations):
        return observations, rewards, False


class FourResults(Changed):
    def change(self, observations, rewards, terminations):
        return observations, rewards, terminations, {}


class UnseededSteps(Changed):
    def change(self, observations, rewards, terminations):
        self._places = self._places + np.random.normal(size=self._places.shape)
        return self._places.copy(), rewards, terminations


class RewardsByTheClock(Changed):
    steps = 0

    def change(self, observations, rewards, terminations):
        self.steps += 1
        return observations, rewards + self.steps, terminations


class ThreadsMatter(Corridor):
    def __init__(self, num_envs, horizon, threads=1):
        super().__init__(num_envs, horizon, threads)
        self.threads = threads

    def _advance(self, actions):
        return super()._advance(actions / self.threads)


class FailingLater(Changed):
    steps = 0

    def change(self, observations, rewards, terminations):
        self.steps += 1
        return observations[: 4 if self.steps < 3 else 9 // 0], rewards, terminations


class OneArrayOfObservations(Corridor):
    def _start(self, generator):
        self._places = generator.normal(0.0, 0.05, (self.num_envs, 1))
        return self._places

    def _advance(self, actions):
        self._places += actions
        _, rewards, terminations = super()._advance(np.zeros_like(actions))
        return self._places, rewards, terminations


class OneBuffer(Changed):
    """The start has an array of its own; all steps share one."""

    def change(self, observations, rewards, terminations):
        if not hasattr(self, "buffer"):
            self.buffer = np.empty_like(observations)
        self.buffer[:] = observations
        return self.buffer, rewards, terminations


class OneArrayOfRewards(Changed):
    def change(self, observations, rewards, terminations):
        if not hasattr(self, "buffer"):
            self.buffer = np.empty_like(rewards)
        self.buffer[:] = rewards
        return observations, self.buffer, terminations


class LivePositions(Corridor):
    def __init__(self, num_envs, horizon, threads=1):
        super().__init__(num_envs, horizon, threads)
        self._shown = np.zeros((num_envs, 1))

    @property
    def positions(self):
        self._shown[:] = self._places
        return self._shown


class ThreeDimensions(Corridor):
    @property
    def positions(self):
        return np.zeros((self.num_envs, 3))


@pytest.mark.parametrize(
    ("environment_class", "violation"),
    [
        (TwoArguments, "its constructor, given num_envs, horizon and threads by name, raises"),
        (OneArgumentMore, "missing 1 required positional argument: 'length'"),
        (FixedSize, "num_envs is not the constructor's"),
        (NoBase, "num_envs is not the constructor's"),
        (NoAdvance, "_advance must be implemented"),
        (TwoAxes, "it must be a Box of shape [A]"),
        (NoPreset, "preset is None; it must be a word"),
        (NoTaskSize, "task_size is None; it must be a positive integer"),
        (FlatTasks, "what sample_tasks draws for count 100 is float64 [100]; it must be float64 ["),
        (Float32Tasks, "is float32 [100, 1]; it must be float64 [100, 1]"),
        (ListedTasks, "what sample_tasks draws for count 100 is a list; it must be float64 ["),
        (InfiniteTasks, "what sample_tasks draws for count 100 is not finite"),
        (GlobalTasks, "sample_tasks draws other tasks with the same seed"),
        (FailingTasks, "sample_tasks raises AttributeError"),
        (FlatStart, "what _start returns is float64 [4]; it must be float64 [4, 1]"),
        (UnseededStart, "_start draws other states with the same seed"),
        (StartAtTheTask, "_start draws other states with the same seed"),
        (FlatObservations, "the first that _advance returns is float64 [4]; it must be float64 [4"),
        (
            Float32Observations,
            "the first that _advance returns is float32 [4, 1]; it must be float",
        ),
        (
            ColumnOfRewards,
            "the second that _advance returns is float64 [4, 1]; it must be float64 [",
        ),
        (NotANumberAsReward, "the second that _advance returns is not finite"),
        (OneTermination, "the third that _advance returns is a bool; it must be bool [4]"),
        (FourResults, "_advance must return three arrays"),
        (UnseededSteps, "the observations of step 0 differ a second time; the same seed"),
        (RewardsByTheClock, "the rewards of step 0 differ a second time"),
        (ThreadsMatter, "the observations of step 0 differ in another instance, with 2 threads"),
        (FailingLater, "step 1 raises ZeroDivisionError"),
        (OneArrayOfObservations, "the observations of the start change after they were returned"),
        (OneBuffer, "the observations of step 0 change after they were returned"),
        (OneArrayOfRewards, "the rewards of step 0 change after they were returned"),
        (LivePositions, "the positions after step 0 change after they were returned"),
        (ThreeDimensions, "positions is float64 [4, 3]; it must be float64 [4, 1]"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_violation_is_named(environment_class, violation):
    message = refusal(contract.check_contract, "corridor", environment_class)
    assert message.startswith("environment 'corridor' breaks the contract of TaskVectorEnv: ")
    assert violation in message


def test_an_edited_plug_in_starts_afresh(module, tmp_path):
    from metarl import checkpoints

    described = {"environment": f"{module}:Corridor", "estimator": "lsf"}
    before = checkpoints.checkpoint_path(tmp_path, described)
    assert checkpoints.checkpoint_path(tmp_path, described) == before
    source = tmp_path / f"{module}.py"
    source.write_text(source.read_text().replace("0.05", "0.06"))
    assert checkpoints.checkpoint_path(tmp_path, described) != before


def test_training_and_evaluation_on_a_plug_in(module, tmp_path):
    from metarl.evaluation import evaluate
    from metarl.training.train import RunFiles, train

    name = f"{module}:Corridor"
    settings = TrainingSettings(
        name, "lsf", "lsf", iterations=2, tasks=4, trajectories=3, horizon=5, hidden_sizes=(4,)
    )
    files = [RunFiles(tmp_path / "run.parquet", tmp_path / "run.npz")]
    train(settings, files, tmp_path / "checkpoints")
    curves = pd.read_parquet(tmp_path / "run.parquet")
    assert set(curves["environment"]) == {name} and len(curves) == 4
    outputs = {"output": tmp_path / "returns.parquet", "paths": tmp_path / "paths.parquet"}
    evaluate([tmp_path / "run.npz"], tasks=2, trajectories=2, inner_steps=1, **outputs)
    for path in outputs.values():
        assert set(pd.read_parquet(path)["environment"]) == {name}
