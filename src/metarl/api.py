"""What `import metarl` offers: the commands as functions that return what they find.

Each is the command of the same name (`metarl identify`, `metarl audit exact`, ...) without files in
between where there need be none. TensorFlow is imported when one of them is called.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from metarl.settings import TrainingSettings


def identify_bundle(path: str | Path, tolerance: float = 1e-6) -> dict:
    """Which estimator a dumped gradient comes from, and what is in it.

    Args:
      path: of a bundle (.npz); the README lists its keys.
      tolerance: the largest relative difference of a match; at least 1e-4 for float32.

    Returns:
      What `metarl identify --json` prints of one file: matches, differences, scales, cosines,
      terms, hints, ... (`metarl.identify.compare.compare`).

    Raises:
      InputError: the bundle is damaged or incomplete.
    """
    from metarl.identify.bundle import read_bundle
    from metarl.identify.compare import compare

    return compare(Path(path), read_bundle(Path(path)), tolerance)


def audit_exact(
    problem: str, estimators: Sequence[str], sample_sizes: Sequence[int]
) -> "pd.DataFrame":
    """Bias and variance of estimators on a finite problem, by enumeration of every sample.

    Args:
      problem: `bandit`, `chain`, ...
      estimators: names of the catalogue, or `package.module:function`.
      sample_sizes: N of the inner loop.

    Returns:
      A row an N and estimator: problem, estimator, sample_size, bias, relative_bias, variance,
      gradient_norm, counterpart.

    Raises:
      InputError: an unknown name, or more samples than can be enumerated.
      RunError: an estimate is not finite.
    """
    import pandas as pd

    from metarl.audit import exact, problems
    from metarl.estimators import estimator

    finite = problems.problem(problem)
    for size in sample_sizes:
        exact.require_enumerable(finite, size)
    audit = exact.ExactAudit(finite, [estimator(name) for name in estimators])
    return pd.DataFrame([row for size in sample_sizes for row in audit.run(size)])


def audit_limit(problem: str, estimators: Sequence[str]) -> "pd.DataFrame":
    """The leading terms of bias and variance as N grows, exact and without enumeration.

    Args:
      problem, estimators: as in `audit_exact`; weights alone, no whole gradients.

    Returns:
      A row an estimator, with the columns of `metarl audit limit`.

    Raises:
      InputError: an unknown name.
    """
    import pandas as pd

    from metarl.audit import limit, problems
    from metarl.estimators import estimator

    entries = [estimator(name) for name in estimators]
    return pd.DataFrame(limit.Limit(problems.problem(problem), entries).rows())


def train(
    output: str | Path,
    policy: str | Path,
    checkpoints: str | Path,
    *,
    threads: int = 1,
    **settings: object,
) -> "pd.DataFrame":
    """Meta-trains one run; one that was interrupted goes on from its checkpoint.

    Args:
      output: parquet file of the learning curve.
      policy: file (.npz) of the final policy, for `load_policy`.
      checkpoints: folder of checkpoints.
      threads: of the machine to use; results do not depend on it.
      **settings: fields of `metarl.settings.TrainingSettings`; environment, estimator and algorithm
        (a name for tables) have no default.

    Returns:
      The learning curve, a row an iteration and inner step.

    Raises:
      InputError: a wrong setting, or a path that cannot be written.
    """
    import pandas as pd

    from metarl.settings import TrainingSettings
    from metarl.training import train as trainer

    files = trainer.RunFiles(Path(output), Path(policy))
    trainer.train(TrainingSettings(**settings), [files], Path(checkpoints), threads=threads)
    return pd.read_parquet(output)


def load_policy(path: str | Path) -> tuple[np.ndarray, "TrainingSettings"]:
    """The parameters [P] that `train` wrote, and the settings of their run.

    Raises:
      InputError: no such file, or a damaged or foreign one.
    """
    from metarl import policy_files

    return policy_files.load_policy(Path(path))
