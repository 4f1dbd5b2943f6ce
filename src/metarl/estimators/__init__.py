"""The heart of the project: the algebra of meta-gradient estimators and their catalogue."""

from metarl.estimators.algebra import Estimator, InnerStep, meta_gradient
from metarl.estimators.registry import CATALOGUE, estimator

__all__ = ["CATALOGUE", "Estimator", "InnerStep", "estimator", "meta_gradient"]
