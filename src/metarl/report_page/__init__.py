"""The report as one page, index.html: verdicts, charts to explore, figures, and what made them.

The page is one file that loads nothing from anywhere: pictures and plotly.js stand inside it. The
same inputs, packages and machine give the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path

from metarl.figures import FIGURES
from metarl.report_page import charts, pictures, provenance, verdicts
from metarl.report_page.markup import STYLE, element, escape, page, section
from metarl.results import columns, tables
from metarl.storage import require_writable, write_text

TITLE = "Which gradient does your meta-RL code estimate?"
PAPER = (
    "Tang (ICML 2022) claims that meta-RL code does well with a gradient estimate that is a little"
    " biased and far less noisy than the unbiased one."
)
TABLE_NOTE = (
    "Reproduced: more than half of what was judged fulfils the criterion and nothing contradicts"
    " it. Not reproduced: something contradicts it. Undecided: the evidence cannot tell."
)


def write_page(
    figures: Path,
    claims: Path,
    output: Path,
    scale: str,
    banner: str = "",
    training: Sequence[Path] = (),
    exact: Sequence[Path] = (),
    films: Sequence[Path] = (),
    benchmarks: Path | None = None,
    settings: str = "",
) -> None:
    """Writes the page.

    Args:
      figures: folder of the pictures of `metarl figure`, NAME.png; those that exist are shown.
      claims: claims.json of `metarl claims`.
      output: HTML file.
      scale: its name, for the reader.
      banner: a warning at the page's top.
      training: parquet files of `metarl train`; without one there are no learning curves.
      exact: parquet files of `metarl audit exact`; likewise.
      films: files of `metarl film`; an empty one stands for a film that could not be made.
      benchmarks: folder of Snakemake's benchmark files (.tsv).
      settings: the whole configuration as text, shown as it is.

    Raises:
      InputError: an input is missing, unreadable or not what it should be, or `output` is no place
        for a file. Nothing is written.
    """
    shown = [drawing for drawing in FIGURES if pictures.path(figures, drawing).exists()]
    measured = provenance.benchmark_files(benchmarks)
    inputs = [
        *(pictures.path(figures, drawing) for drawing in shown),
        *training,
        *exact,
        *films,
        *measured,
    ]
    require_writable(output, inputs=[claims, *inputs])
    judged = verdicts.read(claims)
    curves = charts.learning_curves(tables.read(columns.TRAINING, training))
    audits = charts.exact_audits(tables.read(columns.EXACT, exact))
    sections = {
        "verdicts": ("Verdicts", element("p", TABLE_NOTE) + verdicts.table_of(judged)),
        "films": ("What adaptation does", "".join(map(pictures.film, films))),
        "curves": ("Learning curves", charts.render("curve", curves, charts.CURVES_NOTE)),
        "audit": ("Exact bias and variance", charts.render("audit", audits, charts.AUDITS_NOTE)),
        "figures": ("Figures", "".join(pictures.show(figures, drawing) for drawing in shown)),
        "claims": ("The claims in detail", verdicts.details(judged)),
        "provenance": ("What made this page", provenance.describe(scale, settings, measured)),
    }
    sections = {anchor: parts for anchor, parts in sections.items() if parts[1]}
    warning = element("p", banner, role="alert", class_="banner") if banner else ""
    links = "".join(
        f'<li><a href="#{anchor}">{escape(title)}</a></li>'
        for anchor, (title, _) in sections.items()
    )
    body = [
        warning,
        "<header>",
        element("h1", TITLE),
        element("p", f"{PAPER} {verdicts.summary(judged)}", class_="lead"),
        element("p", f"Scale: {scale}.", class_="quiet"),
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>',
        "</header>\n<main>",
        *(section(anchor, title, content) for anchor, (title, content) in sections.items()),
        "</main>",
    ]
    scripts = [charts.library()] if curves or audits else []
    write_text(page(TITLE, STYLE, scripts, "\n".join(filter(None, body))), output)
