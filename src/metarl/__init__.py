"""Exact, Monte Carlo and MuJoCo audits of meta-gradient estimators, and training with them.

The functions of `metarl.api` and the packages below are imported when they are first used: `import
metarl` is quick and needs no TensorFlow.
"""

import importlib
import os

# Before NumPy is imported: the matrices of a step of a rollout are too small to share, and threads
# could change bits.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

__version__ = "0.1.0"

_PACKAGES = ("audit", "environments", "estimators", "identify")
_FUNCTIONS = ("audit_exact", "audit_limit", "identify_bundle", "load_policy", "train")


def __getattr__(name: str) -> object:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module("metarl.api"), name)
    if name in _PACKAGES:
        return importlib.import_module(f"metarl.{name}")
    raise AttributeError(f"module 'metarl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PACKAGES, *_FUNCTIONS])
