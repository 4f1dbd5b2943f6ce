"""Animated pictures of adaptation: what the policy does before and after an inner step.

The tasks under one another; before adaptation on the left, after it on the right.
"""

import dataclasses
import io
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from metarl import environments
from metarl.environments.recording import Recorder
from metarl.memory import require_training
from metarl.settings import TrainingSettings, require, require_seed
from metarl.storage import require_writable, write_bytes

SIDE = 240  # pixels of one picture; frames have a multiple
FRAMES = 50  # at most
MILLISECONDS = 60  # of a frame
GAP = 200  # grey, between the pictures


def film(policy: Path, output: Path, tasks: int = 2, seed: int = 0) -> None:
    """Films a policy on held-out tasks, before and after an inner step on the run's N trajectories.

    Args:
      policy: of `metarl train`.
      output: WebP file.
      tasks: how many.
      seed: of tasks and rollouts.

    Raises:
      InputError: a policy that cannot be read, an environment without frames, a path that is no
        place for a .webp, or nothing that draws here. Nothing is written.
    """
    from metarl.policy_files import load_policy

    require_writable(output, inputs=[policy])
    require(output.suffix == ".webp", "output", output, "a file that ends in .webp")
    require(tasks >= 1, "tasks", tasks, "an integer >= 1")
    require_seed(seed)
    parameters, training = load_policy(policy)
    settings = dataclasses.replace(training, tasks=tasks, seed=seed, inner_steps=1, iterations=1)
    require_training(settings)
    states, drawn = states_around(parameters, settings)
    # in a process without TensorFlow: see metarl.environments.frames
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pictures = pool.submit(panels, training.environment, states, drawn).result()
    write_bytes(animation(pictures), output)


def states_around(
    parameters: np.ndarray, settings: TrainingSettings
) -> tuple[np.ndarray, np.ndarray]:
    """States [2, T, K, n] of each task's first trajectory before and after adaptation; the tasks.

    Args:
      parameters: theta [P].
      settings: of the run, with the tasks and the seed of the film.
    """
    from metarl.estimators import estimator
    from metarl.randomness import generator
    from metarl.rollouts import make_sampler
    from metarl.training.iteration import adaptation_chain, compiled_adaptation

    sampler = make_sampler(settings, threads=1)
    adapt = compiled_adaptation(sampler.policy, estimator(settings.estimator), settings)
    sampler.environment = Recorder(sampler.environment, "states")
    drawn = sampler.environment.unwrapped.sample_tasks(
        generator(settings.seed, "filmed tasks"), settings.tasks
    )
    rates = [settings.inner_learning_rate]
    adaptation_chain(sampler, adapt, settings, parameters, drawn, rates, ("film",))
    every = np.array(sampler.environment.rollouts)
    return every[:, :, :: settings.trajectories], drawn


def panels(environment: str, states: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """The frames, uint8 [F, K * SIDE, 2 * SIDE, 3], of states [2, T, K, n] and tasks [K, D]."""
    drawer = environments.make(environment, 1, 1, 1, render_mode="rgb_array")
    chosen = np.unique(np.linspace(0, states.shape[1] - 1, FRAMES).round().astype(int))

    frames = np.full((len(chosen), len(tasks) * SIDE, 2 * SIDE, 3), GAP, np.uint8)
    for whole, step in zip(frames, chosen, strict=True):
        for k, task in enumerate(tasks):
            for side, words in enumerate(("before adaptation", "after 1 inner step")):
                picture = drawer.unwrapped.frame(states[side, step, k], task)
                inside = whole[k * SIDE + 1 : (k + 1) * SIDE - 1, side * SIDE + 1 :][:, : SIDE - 2]
                inside[:] = labelled(picture, f"{words}, task {named(task)}")[1:-1, 1:-1]
    drawer.close()
    return frames


def labelled(picture: np.ndarray, words: str) -> np.ndarray:
    """A picture, as small as SIDE, with words at its top: [SIDE, SIDE, 3]."""
    small = Image.fromarray(picture[:: picture.shape[0] // SIDE, :: picture.shape[1] // SIDE])
    ImageDraw.Draw(small).text((6, 4), words, fill="black")
    return np.asarray(small)


def named(task: np.ndarray) -> str:
    """A task's first two numbers."""
    return ", ".join(f"{number:+.2g}" for number in task[:2])


def animation(frames: np.ndarray) -> bytes:
    """Frames [F, height, width, 3] as a WebP that repeats."""
    first, *others = map(Image.fromarray, frames)
    buffer = io.BytesIO()
    first.save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=others,
        duration=MILLISECONDS,
        loop=0,
        quality=70,
    )
    return buffer.getvalue()
