"""Results of `metarl.identify.compare` for people and for programs."""

import json
import math
from collections.abc import Mapping, Sequence


def as_json(results: Sequence[Mapping]) -> str:
    """Results of `compare` as a JSON list; an infinite difference, which JSON cannot say, is null."""
    return json.dumps(
        [
            {
                **result,
                "differences": {
                    name: value if math.isfinite(value) else None
                    for name, value in result["differences"].items()
                },
            }
            for result in results
        ],
        indent=2,
    )


def describe(result: Mapping) -> str:
    """A result of `compare` as text: the verdict, then every entry, nearest first."""
    matches = result["matches"]
    verdict = ", ".join(matches) or "no match"
    if len(matches) > 1:
        verdict += " (they agree on this data)"
    lines = [f"{result['file']}: {verdict} [{result['dtype']}, tolerance {result['tolerance']:g}]"]
    width = max(map(len, result["differences"]))
    lines += [
        f"  {name:<{width}}  {difference:.1e}{'  match' if name in matches else ''}"
        for name, difference in result["differences"].items()
    ]
    return "\n".join(lines)
