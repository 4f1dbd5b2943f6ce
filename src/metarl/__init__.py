"""Exact, Monte Carlo and MuJoCo audits of meta-gradient estimators, and training with them."""

import os

# Before NumPy is imported: the matrices of a step of a rollout are too small to share, and threads
# could change bits.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

__version__ = "0.1.0"
