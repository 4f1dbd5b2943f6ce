"""MuJoCo task distributions: all simulations in one `mujoco.batch.Batch`, stepped on its threads.

A step is one call into MuJoCo and a few NumPy operations over the whole batch; no Python runs per
environment. `Batch` is bit-identical to a loop over single simulations, on any number of threads.
"""

import contextlib
import threading
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_env import expand_model_path
from gymnasium.spaces import Box
from mujoco.batch import Batch, SimulationError

from metarl.environments.frames import Frames
from metarl.environments.vector import TaskVectorEnv, positive_integer

# MuJoCo answers each of these by resetting the simulation: a trajectory silently corrupted.
_FIRST_RESET_WARNING = int(mujoco.mjtWarning.mjWARN_BADQPOS)
_LAST_RESET_WARNING = int(mujoco.mjtWarning.mjWARN_BADQACC)


class _MujocoLog:
    """MuJoCo's log, a setting of the whole process, and the threads that want it off."""

    lock = threading.Lock()
    before: mujoco.MjLogConfig
    silencers = 0


@contextlib.contextmanager
def _without_mujoco_log() -> Iterator[None]:
    """Keeps MuJoCo from printing, and from writing MUJOCO_LOG.TXT into the working directory.

    What matters of its messages is raised as PhysicsError. The last of the threads inside restores
    the log.
    """
    with _MujocoLog.lock:
        if _MujocoLog.silencers == 0:
            _MujocoLog.before, quiet = mujoco.MjLogConfig.get(), mujoco.MjLogConfig.get()
            quiet.logto_console = quiet.logto_file = False
            quiet.set()
        _MujocoLog.silencers += 1
    try:
        yield
    finally:
        with _MujocoLog.lock:
            _MujocoLog.silencers -= 1
            if _MujocoLog.silencers == 0:
                _MujocoLog.before.set()


class MujocoVectorEnv(TaskVectorEnv):
    """A task distribution on one MuJoCo model.

    A subclass names `model_file`, `frame_skip` and `observation_size`, and implements
    `sample_tasks`, `_start_states`, `_observe`, `_reward` and `_terminate`.

    Attributes:
      model_file: the XML model, one of Gymnasium's or a path.
      frame_skip: the mj_step calls of a step.
      action_scale: the control (torque) of an action of 1. Controls are clipped to the model's
        range, and the action space has the corresponding bounds: range / action_scale.
      observation_size: O.
      position_size: 1 or 2, how many of qpos's first numbers are the body's position.
      stage: what MuJoCo computes at the new state, for observations that need more than qpos and
        qvel.
      model: the MjModel.
      batch: the simulations, one per environment.
      seconds_per_step: simulated time between two observations.
    """

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"]}
    model_file: str
    view: ClassVar[dict | None] = None
    frame_skip: int
    action_scale = 1.0
    observation_size: int
    position_size = 1
    stage = mujoco.mjtStage.mjSTAGE_NONE

    def __init__(self, num_envs: int, horizon: int, threads: int = 1, **modes):
        """Loads the model and makes the simulations.

        Args:
          num_envs: K * N.
          horizon: T, the most steps of a trajectory.
          threads: the threads that step the simulations; results do not depend on it.
          **modes: autoreset_mode and render_mode, of TaskVectorEnv.

        Raises:
          InputError: an argument is not a positive integer.
        """
        with _without_mujoco_log():
            self.model = self._make_model()
        low, high = self.model.actuator_ctrlrange.T / self.action_scale
        action_space = Box(low, high, dtype=np.float64)
        super().__init__(num_envs, horizon, self.observation_size, action_space, **modes)
        # a persistent batch goes on from the stage computed last: computing it costs nothing
        self.batch = Batch(
            self.model,
            self.num_envs,
            positive_integer("threads", threads),
            persistent=self.stage != mujoco.mjtStage.mjSTAGE_NONE,
        )
        self.seconds_per_step = self.model.opt.timestep * self.frame_skip
        self.metadata["render_fps"] = round(1 / self.seconds_per_step)
        self._frames = Frames(self.model, self.view) if self.render_mode else None
        # live views of the simulations' states
        self._qpos, self._qvel = self.batch.bind("qpos"), self.batch.bind("qvel")
        self._controls = self.batch.bind("ctrl")
        warnings = self.batch.warning[:, _FIRST_RESET_WARNING : _LAST_RESET_WARNING + 1]
        self._warning_details, self._warning_counts = warnings[..., 0], warnings[..., 1]

    def _make_model(self) -> mujoco.MjModel:
        """Compiles the model."""
        return mujoco.MjModel.from_xml_path(expand_model_path(self.model_file))

    @property
    def positions(self) -> np.ndarray:
        return self._qpos[:, : self.position_size].copy()

    @abstractmethod
    def _start_states(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws start states: qpos [num_envs, nq] and qvel [num_envs, nv]."""

    @abstractmethod
    def _observe(self) -> np.ndarray:
        """Observations [num_envs, O] of the current state, in a new array."""

    @abstractmethod
    def _reward(self, previous_qpos: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """Rewards [num_envs] of the step from previous_qpos [num_envs, nq] under controls."""

    @abstractmethod
    def _terminate(self) -> np.ndarray:
        """Whether the current state ends the trajectory: bool [num_envs]."""

    def _start(self, generator: np.random.Generator) -> np.ndarray:
        return self._restart(np.ones(self.num_envs, bool), generator)

    def _restart(self, mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        positions, velocities = self._start_states(generator)
        self.batch.reset(ids=mask, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._qpos[mask], self._qvel[mask] = positions[mask], velocities[mask]
        if self.stage != mujoco.mjtStage.mjSTAGE_NONE:
            self.batch.forward(ids=mask, stage=self.stage)
        return self._observe()

    @property
    def states(self) -> np.ndarray:
        """Generalized positions, [num_envs, nq]."""
        return self._qpos.copy()

    def frame(self, state: np.ndarray, task: np.ndarray) -> np.ndarray:
        return self._frames.draw(state)

    def close_extras(self, **kwargs) -> None:
        if self._frames is not None:
            self._frames.close()

    def _advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        previous_qpos = self._qpos.copy()
        controls = self.action_scale * actions
        self._controls[:] = controls
        self._simulate()
        return self._observe(), self._reward(previous_qpos, controls), self._terminate()

    def _simulate(self) -> None:
        """Runs frame_skip physics steps; PhysicsError for the first simulation that fails."""
        try:
            with _without_mujoco_log():
                self.batch.step(ids=~self._terminations, nstep=self.frame_skip, stage=self.stage)
        except SimulationError as error:
            failed = int(error.ids[0])
            raise self._failure(failed, self.batch.error(failed)) from error
        if self._warning_counts.any():
            failed, kind = np.argwhere(self._warning_counts)[0]
            detail = int(self._warning_details[failed, kind])
            text = mujoco.mju_warningText(_FIRST_RESET_WARNING + int(kind), detail)
            raise self._failure(int(failed), text)
