"""Frames of simulations, drawn offscreen: through EGL, or OSMesa where there is no EGL.

In a process without TensorFlow: Mesa's software renderer and TensorFlow each bring an LLVM of their
own, and the second of the two to be used ends the process (so do MuJoCo's own Renderer and it).
"""

import importlib
import os
import sys
from collections.abc import Mapping

import mujoco
import numpy as np

from metarl.errors import InputError, shortened

HEIGHT = WIDTH = 480
BACKENDS = ("egl", "osmesa")
CAMERA = "track"  # of gymnasium's models: it follows the body
GOAL_RADIUS, GOAL_COLOUR = 0.012, np.array([0.84, 0.37, 0.0, 1.0], np.float32)


class Frames:
    """Draws states of one model.

    Args:
      model: the model.
      view: of the free camera where the model has none that tracks: distance (m), elevation and
        azimuth (degrees); None: MuJoCo's default.

    Raises:
      InputError: nothing draws offscreen here.
    """

    def __init__(self, model: mujoco.MjModel, view: Mapping[str, float] | None = None):
        if "tensorflow" in sys.modules:
            raise InputError(
                "frames are drawn in a process that has not loaded TensorFlow, which crashes beside"
                " Mesa's renderer; draw them in another process, or leave render_mode out"
            )
        self._model, self._data = model, mujoco.MjData(model)
        self._context = _offscreen_context()
        self._context.make_current()
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._camera, self._options = mujoco.MjvCamera(), mujoco.MjvOption()
        mujoco.mjv_defaultFreeCamera(model, self._camera)
        fixed = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, CAMERA)
        if fixed >= 0:
            self._camera.type, self._camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, fixed
        for name, value in (view or {}).items():
            setattr(self._camera, name, value)
        # the framebuffer's size is the model's; it is its own again when the context is made
        visual, size = model.vis.global_, (model.vis.global_.offwidth, model.vis.global_.offheight)
        visual.offwidth, visual.offheight = WIDTH, HEIGHT
        self._drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        visual.offwidth, visual.offheight = size
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)

    def draw(self, positions: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """The frame, uint8 [HEIGHT, WIDTH, 3], of generalized positions [nq].

        With a ball at the goal [3], where there is one.
        """
        self._context.make_current()
        self._data.qpos[:] = positions
        mujoco.mj_forward(self._model, self._data)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, self._data, self._options, None, self._camera, everything, self._scene
        )
        if goal is not None:
            ball = self._scene.geoms[self._scene.ngeom]
            size, pose = np.full(3, GOAL_RADIUS), np.eye(3).ravel()
            mujoco.mjv_initGeom(ball, mujoco.mjtGeom.mjGEOM_SPHERE, size, goal, pose, GOAL_COLOUR)
            self._scene.ngeom += 1
        frame, view = np.empty((HEIGHT, WIDTH, 3), np.uint8), mujoco.MjrRect(0, 0, WIDTH, HEIGHT)
        mujoco.mjr_render(view, self._scene, self._drawing)
        mujoco.mjr_readPixels(frame, None, view, self._drawing)
        return frame[::-1].copy()  # OpenGL counts rows from below

    def close(self) -> None:
        """Gives the context back."""
        self._context.make_current()
        self._drawing.free()
        self._context.free()


def _offscreen_context():
    """An OpenGL context of the backend that MUJOCO_GL names, or of the first that works."""
    asked = os.environ.get("MUJOCO_GL", "").lower()
    failures = []
    for name in [asked] if asked in BACKENDS else BACKENDS:
        try:
            return importlib.import_module(f"mujoco.{name}").GLContext(WIDTH, HEIGHT)
        except (ImportError, AttributeError, RuntimeError, OSError) as error:
            os.environ.pop("PYOPENGL_PLATFORM", None)  # set by the import, it bars the next one
            failures.append(f"{name}: {shortened(str(error))}")
    raise InputError(
        f"nothing draws frames offscreen here ({'; '.join(failures)}); install Mesa's EGL or"
        " OSMesa, or leave render_mode out"
    )
