"""How biased and how noisy an entry is at a bundle's own N: exact, on the audited problems."""

import functools

from metarl.audit.exact import CHUNK, ExactAudit, samples
from metarl.audit.problems import problem
from metarl.estimators import CATALOGUE

PROBLEMS = ("bandit", "chain")


@functools.cache
def exact_numbers(name: str, sample_size: int) -> str:
    """Relative bias and variance of an entry on PROBLEMS, in words.

    Args:
      name: of the catalogue.
      sample_size: N; enumerated where one compiled call can.
    """
    parts, larger = [], []
    for finite in map(problem, PROBLEMS):
        if samples(finite, sample_size) > CHUNK:
            larger.append(finite.name)
        else:
            (row,) = ExactAudit(finite, [CATALOGUE[name]]).run(sample_size)
            bias, variance = row["relative_bias"], row["variance"] / row["gradient_norm"] ** 2
            parts.append(
                f"{finite.name} relative bias {bias:.2g}, relative variance {variance:.2g}"
            )
    if larger:
        parts.append(
            f"{' and '.join(larger)} {'has' if len(larger) == 1 else 'have'} too many samples, see"
            " metarl audit limit"
        )
    return f"{name} at N = {sample_size}, exactly: {'; '.join(parts)}"
