"""Task distributions as gymnasium vector environments, registered under `metarl/`.

environment = gymnasium.make_vec("metarl/HalfCheetahDir-v0", num_envs=800, horizon=100, threads=2)
environment = metarl.environments.make("HalfCheetahDir", tasks=40, trajectories=20, horizon=100)
"""

import gymnasium

from metarl.environments.vector import PhysicsError, TaskVectorEnv, positive_integer
from metarl.errors import InputError

__all__ = ["NAMES", "PhysicsError", "TaskVectorEnv", "make"]

# name: where it is, and the published horizon, which gymnasium.make_vec defaults to
_REGISTERED = {
    "AntDir": ("metarl.environments.ant:AntDir", 200),
    "AntDir2D": ("metarl.environments.ant:AntDir2D", 200),
    "AntGoal": ("metarl.environments.ant:AntGoal", 200),
    "AntVel": ("metarl.environments.ant:AntVel", 200),
    "HalfCheetahDir": ("metarl.environments.half_cheetah:HalfCheetahDir", 100),
    "HalfCheetahDir_finn2017": ("metarl.environments.finn_half_cheetah:FinnHalfCheetahDir", 200),
    "HalfCheetahVel": ("metarl.environments.half_cheetah:HalfCheetahVel", 200),
    "HalfCheetahVel_finn2017": ("metarl.environments.finn_half_cheetah:FinnHalfCheetahVel", 200),
    "HopperRandParams": ("metarl.environments.random_parameters:HopperRandParams", 200),
    "HumanoidDir2D": ("metarl.environments.humanoid:HumanoidDir2D", 200),
    "PointGoal": ("metarl.environments.point_goal:PointGoal", 100),
    "PointGoal_finn2017": ("metarl.environments.point_goal:FinnPointGoal", 100),
    "SwimmerVel": ("metarl.environments.swimmer:SwimmerVel", 200),
    "Walker2DDir": ("metarl.environments.walker2d:Walker2DDir", 200),
    "Walker2DRandParams": ("metarl.environments.random_parameters:Walker2DRandParams", 200),
    "Walker2DVel": ("metarl.environments.walker2d:Walker2DVel", 200),
}
NAMES = tuple(_REGISTERED)

for _name, (_entry_point, _horizon) in _REGISTERED.items():
    gymnasium.register(
        id=f"metarl/{_name}-v0", vector_entry_point=_entry_point, kwargs={"horizon": _horizon}
    )


def make(name: str, tasks: int, trajectories: int, horizon: int, threads: int = 1) -> TaskVectorEnv:
    """Makes a vector environment of tasks x trajectories environments.

    Args:
      name: one of NAMES.
      tasks: K.
      trajectories: N, of every task.
      horizon: T, the most steps of a trajectory.
      threads: the threads that step the simulations.

    Returns:
      The environment.

    Raises:
      InputError: the name is unknown, or a number is not a positive integer.
    """
    if name not in NAMES:
        raise InputError(f"environment {name!r} is unknown; choose one of {', '.join(NAMES)}")
    num_envs = positive_integer("tasks", tasks) * positive_integer("trajectories", trajectories)
    return gymnasium.make_vec(
        f"metarl/{name}-v0", num_envs=num_envs, horizon=horizon, threads=threads
    )
