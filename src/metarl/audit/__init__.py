"""Audits: what an estimator's bias and variance are, and how they scale with the inner sample size N."""
