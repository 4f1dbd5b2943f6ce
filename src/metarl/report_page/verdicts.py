"""The verdicts as a table, and each claim in detail, from claims.json."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from metarl.errors import InputError
from metarl.report_page.markup import badge, cells, element, enclose, escape, fold, table

KINDS = {"reproduced": "yes", "not reproduced": "no"}  # classes of the style; others: undecided
TEXTS = ("id", "statement", "source", "estimand", "level", "criterion", "verdict", "measured")
PARTS = ("place", "subject", "quantity", "outcome", "note")
NUMBERS = ("value", "low", "high")  # each a number or null


def read(path: Path) -> list[dict]:
    """The claims of claims.json.

    Raises:
      InputError: the file is missing, or no claims.json.
    """
    try:
        claims = json.loads(Path(path).read_text())["claims"]
        for claim in claims:
            _check(claim, TEXTS)
            _ = [*claim["commands"], *claim["remarks"]]
            for measurement in claim["measurements"]:
                _check(measurement, PARTS)
                _ = [format(measurement[key] or 0.0, ".4g") for key in NUMBERS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no claims.json ({error}); give one that metarl claims wrote"
        ) from None
    return claims


def _check(part: dict, texts: Sequence[str]) -> None:
    for key in texts:
        if not isinstance(part[key], str):
            raise TypeError(f"{key} is no text")


def kind(claim: dict) -> str:
    return KINDS.get(claim["verdict"], "open")


def summary(claims: Sequence[dict]) -> str:
    """How many claims have which verdict, as a sentence."""
    counts = Counter(map(kind, claims))
    return (
        f"Of {len(claims)} statements by the paper, by others and by this project that were tested"
        f" here, {counts['yes']} are reproduced, {counts['no']} are not, and {counts['open']} are"
        " undecided."
    )


def _row(claim: dict) -> str:
    link = element("a", claim["statement"], href=f"#claim-{claim['id']}")
    others = [escape(claim[key]) for key in ("source", "level", "measured")]
    return cells(link, badge(claim["verdict"], kind(claim)), *others)


def table_of(claims: Sequence[dict]) -> str:
    heads = ["claim", "verdict", "by", "level", "measured"]
    return table(heads, [(kind(claim), _row(claim)) for claim in claims], kind="verdicts")


def details(claims: Sequence[dict]) -> str:
    """Each claim: how it is judged, and what was measured."""
    return "\n".join(
        enclose("article", _describe(claim), id=f"claim-{claim['id']}") for claim in claims
    )


def _describe(claim: dict) -> str:
    entries = {
        "claimed by": claim["source"],
        "estimand": claim["estimand"],
        "level": claim["level"],
        "criterion": claim["criterion"],
        "measured": claim["measured"],
        "remarks": " ".join(claim["remarks"]),
    }
    listed = "".join(
        element("dt", name) + element("dd", text) for name, text in entries.items() if text
    )
    title = f"{badge(claim['verdict'], kind(claim))} {escape(claim['statement'])}"
    parts = [enclose("h3", title), enclose("dl", listed)]
    if claim["measurements"]:
        number = len(claim["measurements"])
        parts.append(fold(f"{number} measurement{'s'[: number > 1]}", _measurements(claim)))
    if claim["commands"]:
        commands = element("pre", "\n".join(claim["commands"]), tabindex="0")
        parts.append(fold("measure it again", commands))
    return "\n".join(parts)


def _measurements(claim: dict) -> str:
    heads = ["place", "subject", "quantity", "outcome", "note", "value", "interval"]
    rows = []
    for one in claim["measurements"]:
        texts = [escape(one[key]) for key in PARTS]
        rows.append(("", cells(*texts, _number(one["value"]), _interval(one), numbers=2)))
    return table(heads, rows, numbers=("value", "interval"))


def _number(number: float | None) -> str:
    return "\N{EN DASH}" if number is None else format(number, ".4g").replace("-", "\N{MINUS SIGN}")


def _interval(measurement: dict) -> str:
    if measurement["low"] is None or measurement["high"] is None:
        return "\N{EN DASH}"
    return f"[{_number(measurement['low'])}, {_number(measurement['high'])}]"
