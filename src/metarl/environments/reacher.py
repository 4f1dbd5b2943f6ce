"""An arm that reaches for a goal that it does not observe: cheap physics, no contacts."""

from typing import ClassVar

import mujoco
import numpy as np

from metarl.environments import tasks
from metarl.environments.mujoco_batch import MujocoVectorEnv

POSITION_NOISE = 0.1  # rad
VELOCITY_NOISE = 0.005  # rad / s
LARGEST_DISTANCE = 0.2  # m, of a goal from the arm's root
CONTROL_COST = 0.1
GOAL_HEIGHT = 0.01  # m, of the arm's plane, where frames show it
JOINTS = slice(2)  # the arm's; the others are those of the model's target


class ReacherGoal(MujocoVectorEnv):
    """Reach for a goal, uniform on a disc of radius 0.2 m around the arm's root.

    Reward: minus the distance (m) in the plane from the fingertip to the goal after the step, minus
    0.1 sum u^2 of the controls u. Observations [8]: cosines [2] and sines [2] of the joints'
    angles, their velocities [2] (rad / s) and the fingertip's position [2] (m); nothing of the
    goal. No trajectory ends early.

    Start: the arm along the x axis, whose fingertip is 0.21 m from the root, + U[-0.1, 0.1] rad a
    joint, velocities U[-0.005, 0.005] rad / s. An action of 1 is a control of 0.1, clipped to
    [-1, 1]: a tenth of the largest torque, so that a policy of unit standard deviation does not
    whirl the arm around. A step is two physics steps of 0.01 s; 50 steps are one second.

    Not published: ours, on the reacher.xml of Gymnasium's Reacher-v5, with its frame skip, its
    goals and the start of its joints. There the goal is observed, an action of 1 is the largest
    control, the control cost is sum u^2, and the model's target lies at the goal; here it stays
    where the model has it, out of the arm's way.
    """

    preset = "metarl"
    view: ClassVar[dict] = {"distance": 0.65, "elevation": -90.0, "azimuth": 90.0}  # from above
    task_size = 2
    model_file = "reacher.xml"
    frame_skip = 2
    action_scale = 0.1
    observation_size = 8
    stage = mujoco.mjtStage.mjSTAGE_POS

    def __init__(self, num_envs: int, horizon: int, threads: int = 1, **modes):
        super().__init__(num_envs, horizon, threads, **modes)
        self._fingertips = self.batch.bind("xpos")[:, self.model.body("fingertip").id, :2]

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Goals, [count, 2]."""
        return tasks.in_disc(generator, count, LARGEST_DISTANCE)

    @property
    def positions(self) -> np.ndarray:
        """Of the fingertip, [num_envs, 2]."""
        return self._fingertips.copy()

    def frame(self, state: np.ndarray, task: np.ndarray) -> np.ndarray:
        """With a ball at the goal, which the policy does not see."""
        return self._frames.draw(state, goal=np.array([*task, GOAL_HEIGHT]))

    def _start_states(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        qpos = np.tile(self.model.qpos0, (self.num_envs, 1))
        qvel = np.zeros((self.num_envs, self.model.nv))
        shape = qpos[:, JOINTS].shape
        qpos[:, JOINTS] += generator.uniform(-POSITION_NOISE, POSITION_NOISE, shape)
        qvel[:, JOINTS] = generator.uniform(-VELOCITY_NOISE, VELOCITY_NOISE, shape)
        return qpos, qvel

    def _observe(self) -> np.ndarray:
        angles, velocities = self._qpos[:, JOINTS], self._qvel[:, JOINTS]
        parts = (np.cos(angles), np.sin(angles), velocities, self._fingertips)
        return np.concatenate(parts, axis=1)

    def _reward(self, previous_qpos: np.ndarray, controls: np.ndarray) -> np.ndarray:
        distances = np.linalg.norm(self._fingertips - self._environment_tasks, axis=1)
        return -distances - CONTROL_COST * np.square(controls).sum(axis=1)

    def _terminate(self) -> np.ndarray:
        return np.zeros(self.num_envs, bool)
