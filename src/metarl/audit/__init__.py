"""Audits: what an estimator's bias and variance are, and how they scale with N."""
