"""Meta-training: `train.py` top to bottom, one meta-iteration, and its gradient."""
