"""Exact, Monte Carlo and MuJoCo audits of meta-gradient estimators, and training with them."""

__version__ = "0.1.0"
