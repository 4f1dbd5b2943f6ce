"""Results of `metarl.identify.compare` for people and for programs."""

import json
import math
import re
from collections.abc import Mapping, Sequence

from metarl.estimators import CATALOGUE
from metarl.estimators.registry import LETTERS
from metarl.identify.decompose import LEGEND
from metarl.identify.exact_numbers import exact_numbers

SHOWN = 6
"""Entries that do not match and are listed all the same."""

PRODUCTS = (
    "what remains are products of the terms: entries weigh scores at every inner step, these terms "
    "are of first order"
)


def as_json(results: Sequence[Mapping]) -> str:
    """Results as a JSON list; an infinite number, which JSON cannot say, is null."""

    def finite(value):
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps([finite(dict(result)) for result in results], indent=2)


def describe(result: Mapping) -> str:
    """A result as text: the verdict, what is in the gradient, the entries, and what to do next."""
    matches, differences = result["matches"], result["differences"]
    verdict = ", ".join(matches) or "no match"
    if len(matches) > 1:
        verdict += " (they agree on this data)"
    lines = [f"{result['file']}: {verdict} [{result['dtype']}, tolerance {result['tolerance']:g}]"]
    if result["reading"]:
        lines.append(f"  read with {result['reading']}")
    width = max(map(len, differences))
    for number, (name, difference) in enumerate(differences.items()):
        if name in matches:
            lines.append(f"  {name:<{width}}  {difference:.1e}  match; {rates(name)}".rstrip("; "))
        elif number < len(matches) + SHOWN:
            scale, cosine = result["scales"][name], result["cosines"][name]
            lines.append(
                f"  {name:<{width}}  {difference:.1e}  {_number(scale)} times it, "
                f"cosine {cosine:.6g}"
            )
    if len(differences) > len(matches) + SHOWN:
        lines.append("  ... (--json has all)")
    equals = "=" if result["terms_residual"] <= result["tolerance"] else "~"
    lines.append(f"  {equals} {_sum(result)}  (residual {result['terms_residual']:.1e})")
    lines += [f"    {sentence}" for sentence in result["collinear"]]
    if matches and result["terms_residual"] > result["tolerance"]:
        lines.append(f"    {PRODUCTS}")
    lines += [f"  {_hint(hint, result)}" for hint in result["hints"]]
    if result["left_out"]:
        lines.append(f"  not tried for lack of time: {', '.join(result['left_out'])}")
    lines += [f"  {exact_numbers(name, result['sample_size'])}" for name in matches[:1]]
    return "\n".join([*lines, f"  next: {_next(result)}"])


def legend(results: Sequence[Mapping]) -> str:
    """What the letters and the terms of the results mean."""
    names = [name for name in LEGEND if any(name in result["terms"] for result in results)]
    width = max(map(len, names), default=0)
    lines = [*LETTERS, *(f"{name:<{width}}  {LEGEND[name]}" for name in names)]
    return "\n".join(["", *lines])


def rates(name: str) -> str:
    """The bias and variance order of an entry, as the docstring of its weights has them."""
    text = (
        " ".join((CATALOGUE[name].weights.__doc__ or "").split())
        if (CATALOGUE[name].weights)
        else ""
    )
    sentences = re.split(r"(?<=[.;]) (?=[A-Z])", text)
    stated = [
        sentence for sentence in sentences if re.search(r"\b([Bb]ias|[Vv]ariance)\b", sentence)
    ]
    return " ".join(stated)


def _sum(result: Mapping) -> str:
    """The decomposition as a sum, and the name that it goes by."""
    present = {name: value for name, value in result["terms"].items() if abs(value) > 1e-6}
    parts = [f"{_number(value)} {name}" for name, value in present.items()]
    absent = [name for name in result["terms"] if name not in present]
    if absent:
        parts.append(f"0.00 ({', '.join(absent)})")
    names = f": {', '.join(result['matches'])}" if result["matches"] else ""
    return " + ".join(parts).replace("+ -", "- ") + names


def _number(value: float) -> str:
    """Two decimals, or as many as it takes to see that a number is not 0."""
    if abs(value) >= 1e4:
        return f"{value:.3g}"
    return f"{value:.2f}" if abs(value) >= 0.1 or abs(value) < 1e-6 else f"{value:.2g}"


def _hint(hint: Mapping, result: Mapping) -> str:
    """A hint as a line; a scale as the number that it is."""
    entry, change, misfit = hint["entry"], hint["change"], f"residual {hint['residual']:.1e}"
    as_given = result["residuals"][entry] <= result["tolerance"]
    if as_given:
        scale, cosine = result["scales"][entry], result["cosines"][entry]
        return f"{_number(scale)} times {entry}, cosine {cosine:.3g}: {hint['detail']} ({change})"
    if hint["residual"] <= result["tolerance"]:
        return f"{entry} after {change}: {hint['detail']} ({misfit})"
    return f"nearer to {entry} after {change}: {hint['detail']} ({misfit})"


def _next(result: Mapping) -> str:
    """What to do with the verdict."""
    if result["matches"]:
        return (
            f"metarl audit exact --problem chain --estimators {' '.join(result['matches'])} "
            f"--sample-sizes {result['sample_size']} --output audit.parquet  (bias and variance)"
        )
    if any(hint["residual"] <= result["tolerance"] for hint in result["hints"]):
        return "mend what is named above, in the code or in the bundle, and identify it again"
    if result["terms_residual"] <= result["tolerance"]:
        entropy = result["terms"].get("entropy", 0.0)
        if abs(entropy) > 1e-6:
            return f"give entropy_coefficient = {entropy:.6g} in the bundle, and identify it again"
        return "the sum above is the gradient; a plug-in with these weights can be audited (README)"
    return (
        "read the sum above for what is in the gradient; dump float64 and the exact batches; of "
        "other networks dump scores (README)"
    )
