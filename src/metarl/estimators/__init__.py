"""The heart of the project: the algebra of meta-gradient estimators and their catalogue."""

from metarl.estimators.algebra import Estimator, InnerStep, meta_gradient
from metarl.estimators.registry import CATALOGUE, compiled_estimator, estimator

__all__ = [
    "CATALOGUE",
    "Estimator",
    "InnerStep",
    "compiled_estimator",
    "estimator",
    "meta_gradient",
]
