"""HalfCheetah tasks of Finn et al. 2017: run in a direction, or at a velocity.

What runs is the body's centre of mass.
"""

import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_env import expand_model_path

from metarl.environments import tasks
from metarl.environments.half_cheetah import HalfCheetah, HalfCheetahDir, HalfCheetahVel

POSITION_NOISE = 0.01
VELOCITY_NOISE = 0.1


class FinnHalfCheetah(HalfCheetah):
    """The half-cheetah of cbfinn/maml_rl that both task distributions share.

    Follows the files rllab/envs/mujoco/half_cheetah_env_rand_direc.py, half_cheetah_env_rand.py and
    mujoco_env.py there, whose wrapper rllab/envs/normalized_env.py clips actions to [-1, 1] as they
    are. Reward: a task's running reward, from the forward velocity of the centre of mass after the
    step, minus 0.05 sum a^2 of the clipped action. Observations: qpos[1:] [8], qvel [9] and the
    centre of mass [3]. Start: the model's pose + 0.01 N(0, 1) per coordinate, velocities
    0.1 N(0, 1). One mj_step of 0.01 s a step, as the model of rll/rllab,
    vendor/mujoco_models/half_cheetah.xml, names no frame skip: 200 steps are 2 seconds. ProMP's
    environment of the same name takes 5, divides actions by 10, observes no position and measures
    the root, so returns of the two are not comparable.

    Deviations from the published definition:
      - MuJoCo 4 for 1.31, and Gymnasium's half_cheetah.xml, whose bodies, joints, actuators and
        contacts have rllab's numbers. Physics differs between MuJoCo versions, so returns do too.
      - Start states come from the seed given to reset.
    """

    preset = "finn2017"
    frame_skip = 1
    action_scale = 1.0
    observation_size = 20
    stage = mujoco.mjtStage.mjSTAGE_VEL

    def __init__(self, num_envs: int, horizon: int, threads: int = 1, **modes):
        super().__init__(num_envs, horizon, threads, **modes)
        measured = self.batch.bind("sensordata")
        self._centers, self._center_velocities = measured[:, :3], measured[:, 3:]

    def _make_model(self) -> mujoco.MjModel:
        return mujoco.MjModel.from_xml_string(
            f"""<mujoco>
              <include file="{expand_model_path(self.model_file)}"/>
              <sensor><subtreecom body="torso"/><subtreelinvel body="torso"/></sensor>
            </mujoco>"""
        )

    def _start_states(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = generator.standard_normal((self.num_envs, self.model.nq))
        velocities = generator.standard_normal((self.num_envs, self.model.nv))
        return self.model.qpos0 + POSITION_NOISE * noise, VELOCITY_NOISE * velocities

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._qpos[:, 1:], self._qvel, self._centers], axis=1)

    def _forward_velocities(self, previous_qpos: np.ndarray) -> np.ndarray:
        return self._center_velocities[:, 0]


class FinnHalfCheetahDir(FinnHalfCheetah, HalfCheetahDir):
    """Run forwards (task +1) or backwards (task -1): running reward = task * velocity.

    Directions are independent, forwards with probability 0.5, as in the repository's last version
    (goals U[0, 2], backwards below 1). The version of its `icml` folder, from which the published
    returns come, has 0.57 (goals U[0.1, 0.8], backwards below 0.4).
    """


class BalancedFinnHalfCheetahDir(FinnHalfCheetahDir):
    """FinnHalfCheetahDir with one more deviation: balanced directions."""

    balanced_directions = True


class FinnHalfCheetahVel(FinnHalfCheetah, HalfCheetahVel):
    """Run at a goal velocity, U[0, 2]: running reward = -|velocity - task|."""

    def sample_tasks(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Goal velocities, [count, 1]."""
        return tasks.uniform(generator, count, 0.0, 2.0)
