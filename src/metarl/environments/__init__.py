"""Task distributions as gymnasium vector environments, registered under `metarl/`.

environment = gymnasium.make_vec("metarl/HalfCheetahDir-v0", num_envs=800, horizon=100, threads=2)
environment = metarl.environments.make("HalfCheetahDir", tasks=40, trajectories=20, horizon=100)

Anyone's own needs no registration: wherever an environment is named, `package.module:Class`, a
subclass of TaskVectorEnv, works too.
"""

import functools

import gymnasium

from metarl import plug_ins
from metarl.environments.contract import check_contract
from metarl.environments.vector import PhysicsError, TaskVectorEnv, positive_integer
from metarl.errors import InputError

__all__ = ["NAMES", "PhysicsError", "TaskVectorEnv", "entry_point", "make", "sizes"]

# name: where it is, and the published horizon, which gymnasium.make_vec defaults to
_REGISTERED = {
    "AntDir": ("metarl.environments.ant:AntDir", 200),
    "AntDir2D": ("metarl.environments.ant:AntDir2D", 200),
    "AntGoal": ("metarl.environments.ant:AntGoal", 200),
    "AntVel": ("metarl.environments.ant:AntVel", 200),
    "HalfCheetahDir": ("metarl.environments.half_cheetah:HalfCheetahDir", 100),
    "HalfCheetahDir_balanced": ("metarl.environments.half_cheetah:BalancedHalfCheetahDir", 100),
    "HalfCheetahDir_finn2017": ("metarl.environments.finn_half_cheetah:FinnHalfCheetahDir", 200),
    "HalfCheetahDir_finn2017_balanced": (
        "metarl.environments.finn_half_cheetah:BalancedFinnHalfCheetahDir",
        200,
    ),
    "HalfCheetahVel": ("metarl.environments.half_cheetah:HalfCheetahVel", 200),
    "HalfCheetahVel_finn2017": ("metarl.environments.finn_half_cheetah:FinnHalfCheetahVel", 200),
    "HopperRandParams": ("metarl.environments.random_parameters:HopperRandParams", 200),
    "HumanoidDir2D": ("metarl.environments.humanoid:HumanoidDir2D", 200),
    "PointGoal": ("metarl.environments.point_goal:PointGoal", 100),
    "PointGoal_finn2017": ("metarl.environments.point_goal:FinnPointGoal", 100),
    "ReacherGoal": ("metarl.environments.reacher:ReacherGoal", 50),
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


def entry_point(name: str) -> str:
    """Where the class of an environment is, `package.module:Class`.

    Args:
      name: one of NAMES, or anyone's own entry point, which is imported and returned.

    Raises:
      InputError: there is no such environment.
    """
    if ":" in name:
        _plug_in(name)
        return name
    if name not in NAMES:
        raise InputError(
            f"unknown environment {name!r}; choose one of {', '.join(NAMES)}, or give "
            "package.module:Class"
        )
    return _REGISTERED[name][0]


def make(
    name: str, tasks: int, trajectories: int, horizon: int, threads: int = 1, **modes
) -> TaskVectorEnv:
    """Makes a vector environment of tasks x trajectories environments.

    Args:
      name: one of NAMES, or `package.module:Class` of anyone's own, which is held against the
        contract first.
      tasks: K.
      trajectories: N, of every task.
      horizon: T, the most steps of a trajectory.
      threads: the threads that step the simulations.
      **modes: autoreset_mode and render_mode, of TaskVectorEnv.

    Returns:
      The environment.

    Raises:
      InputError: there is no such environment, it breaks the contract, or a number is not a
        positive integer.
    """
    num_envs = positive_integer("tasks", tasks) * positive_integer("trajectories", trajectories)
    sizes = {"num_envs": num_envs, "horizon": horizon, "threads": threads} | modes
    if ":" in name:
        environment_class = _plug_in(name)
        check_contract(name, environment_class)
        return environment_class(**sizes)
    entry_point(name)
    return gymnasium.make_vec(f"metarl/{name}-v0", **sizes)


@functools.cache
def sizes(name: str) -> tuple[int, int]:
    """O and A, of a step's observation and action, told by one environment of that name."""
    environment = make(name, tasks=1, trajectories=1, horizon=1)
    return environment.single_observation_space.shape[0], environment.single_action_space.shape[0]


def _plug_in(name: str) -> type[TaskVectorEnv]:
    """The class at an entry point; InputError unless it is a TaskVectorEnv."""
    form = "package.module:Class, a subclass of metarl.environments.TaskVectorEnv"
    loaded = plug_ins.load("environment", name, form)
    if not (isinstance(loaded, type) and issubclass(loaded, TaskVectorEnv)):
        raise InputError(f"environment {name!r} is no TaskVectorEnv; give {form}")
    return loaded
