"""Pieces of HTML, in which every text is escaped, and the page's looks."""

import html
from collections.abc import Sequence

STYLE = """
:root { color-scheme: light; --ink: #1d2129; --quiet: #5b6270; --line: #dfe2e8; --panel: #f6f7f9;
  --link: #0b57a4; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 system-ui, -apple-system,
  "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main { max-width: 1100px; margin: 0 auto; padding: 0 24px; }
main { padding-bottom: 96px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 40px 0 12px; letter-spacing: -0.01em; }
h2 { font-size: 1.4rem; margin: 56px 0 12px; padding-bottom: 6px;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; line-height: 1.4; margin: 0 0 4px; }
p { margin: 8px 0; }
a { color: var(--link); }
.lead { font-size: 1.15rem; max-width: 46em; }
.quiet { color: var(--quiet); font-size: 0.9rem; max-width: 60em; }
.banner { margin: 0; padding: 14px 24px; background: #b3261e; color: #fff; font-weight: 700;
  font-size: 1.1rem; text-align: center; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 8px; padding: 0; margin: 20px 0 0; }
nav a { display: block; padding: 4px 14px; border: 1px solid var(--line); border-radius: 16px;
  text-decoration: none; font-size: 0.9rem; }
nav a:hover { background: var(--panel); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; line-height: 1.4; }
th, td { text-align: left; vertical-align: top; padding: 7px 10px;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 600; background: var(--panel); }
tbody th { font-weight: 400; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.verdict { display: inline-block; padding: 1px 10px; border-radius: 12px; color: #fff;
  font-weight: 600; font-size: 0.82rem; white-space: nowrap; background: #5f6672; }
.verdict::before { content: "? "; }
.verdict.yes { background: #00704f; }
.verdict.yes::before { content: "\\2713\\00a0"; }
.verdict.no { background: #b3400e; }
.verdict.no::before { content: "\\2715\\00a0"; }
tr.yes > th { box-shadow: inset 4px 0 #00704f; }
tr.no > th { box-shadow: inset 4px 0 #b3400e; }
tr.open > th { box-shadow: inset 4px 0 #a7adb8; }
.verdicts tbody th { padding-left: 16px; width: 36%; }
article { padding: 18px 0; border-bottom: 1px solid var(--line); scroll-margin-top: 12px; }
article:target { background: #fff8e1; box-shadow: -16px 0 #fff8e1, 16px 0 #fff8e1; }
dl { display: grid; grid-template-columns: 8em 1fr; gap: 3px 12px; margin: 10px 0;
  font-size: 0.92rem; }
dt { color: var(--quiet); }
dd { margin: 0; }
summary { cursor: pointer; color: var(--link); font-size: 0.92rem; padding: 4px 0; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 12px;
  overflow: auto; max-height: 32em; font-size: 0.82rem; line-height: 1.45; }
figure { margin: 32px 0; }
figure.film { display: inline-block; margin: 8px 16px 8px 0; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: 8px; font-size: 0.92rem; color: var(--quiet); max-width: 60em; }
figcaption strong { color: var(--ink); }
.chart { min-height: 480px; margin: 16px 0 28px; }
@media print { .chart, nav { break-inside: avoid; } details { display: block; } }
@media (max-width: 640px) {
  header, main { padding: 0 16px; }
  dl { grid-template-columns: 1fr; }
  dd { margin-bottom: 6px; }
  .verdicts thead { display: none; }
  .verdicts tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--line);
    box-shadow: inset 4px 0 #a7adb8; }
  .verdicts tr.yes { box-shadow: inset 4px 0 #00704f; }
  .verdicts tr.no { box-shadow: inset 4px 0 #b3400e; }
  .verdicts tbody th, .verdicts td { display: inline-block; width: auto; border: 0;
    padding: 2px 0 2px 14px; box-shadow: none; }
  .verdicts tbody th, .verdicts td:last-child { display: block; }
}
"""


def escape(text: object) -> str:
    return html.escape(str(text))


def element(tag: str, text: object, **attributes: str) -> str:
    """<tag attributes>text</tag> with escaped text; `class_` stands for class."""
    return enclose(tag, escape(text), **attributes)


def enclose(tag: str, content: str, **attributes: str) -> str:
    """As `element`, around what is HTML already."""
    given = "".join(
        f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items() if value
    )
    return f"<{tag}{given}>{content}</{tag}>"


def badge(word: str, kind: str) -> str:
    return element("span", word, class_=f"verdict {kind}")


def section(anchor: str, title: str, content: str) -> str:
    return enclose("section", f"{element('h2', title)}\n{content}\n", id=anchor)


def fold(summary: str, content: str) -> str:
    """Content that a click on its summary shows."""
    return enclose("details", element("summary", summary) + content)


def table(
    heads: Sequence[str], rows: Sequence[tuple[str, str]], numbers: Sequence[str] = (), kind=""
) -> str:
    """A table that scrolls sideways where the page is narrow.

    Args:
      heads: of the columns.
      rows: (class, cells as HTML), see `cells`.
      numbers: the heads of columns of numbers.
      kind: class of the table.
    """
    top = "".join(
        element("th", head, scope="col", class_="number" if head in numbers else "")
        for head in heads
    )
    body = "\n".join(enclose("tr", content, class_=name) for name, content in rows)
    whole = enclose("table", f"<thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody>", class_=kind)
    return enclose("div", whole, class_="wide")


def cells(first: str, *others: str, numbers: int = 0) -> str:
    """A row: what it is about, then the other cells, of which the last `numbers` are numbers."""
    start = len(others) - numbers
    return enclose("th", first, scope="row") + "".join(
        enclose("td", cell, class_="number" if i >= start else "") for i, cell in enumerate(others)
    )


def page(title: str, style: str, scripts: Sequence[str], body: str) -> str:
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',  # else browsers ask for /favicon.ico
        element("title", title),
        f"<style>{style}</style>",
        *(f"<script>{script}</script>" for script in scripts),
    ]
    lines = ['<html lang="en">\n<head>', *head, f"</head>\n<body>\n{body}\n</body>\n</html>"]
    return "<!DOCTYPE html>\n" + "\n".join(lines) + "\n"
