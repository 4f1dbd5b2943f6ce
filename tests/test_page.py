"""The report as one page, on small tables."""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from metarl.errors import InputError
from metarl.figures import FIGURES
from metarl.report_page import charts, write_page
from metarl.report_page.charts import library
from metarl.report_page.pictures import caption

VOID = {"meta", "link", "img", "br", "input"}


class Reader(HTMLParser):
    """Collects elements, and fails where a tag is not closed by its own."""

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def read(report_inputs):
    """Writes the page with some inputs replaced and reads it."""

    def write_and_read(**replaced):
        write_page(**(report_inputs | replaced))
        reader = Reader()
        reader.feed(report_inputs["output"].read_text())
        reader.close()
        assert reader.open == []
        return reader

    return write_and_read


def test_every_claim_stands_in_the_table_and_in_detail(read):
    page = read()
    identifiers = [attributes.get("id") for _, attributes in page.elements]
    links = [link["href"] for link in page.all("a")]
    kinds = {"reproduced": "yes", "not-reproduced": "no", "undecided": "open"}
    for identifier, kind in kinds.items():
        assert identifiers.count(f"claim-{identifier}") == 1
        assert f"#claim-{identifier}" in links
        badges = [span for span in page.all("span") if span.get("class") == f"verdict {kind}"]
        assert len(badges) == 2
    assert all(link.removeprefix("#") in identifiers for link in links)
    assert "Of 3 statements" in page.text and "1 are reproduced, 1 are not, and 1 are" in page.text
    assert "the criterion & more" in page.text and "[−1.5, −0.5]" in page.text


def test_every_picture_has_words(read, report_inputs):
    images = read().all("img")
    assert len(images) == len(FIGURES)
    for image, drawing in zip(images, FIGURES, strict=True):
        assert image["alt"] == f"{drawing.label}. {caption(drawing.name)}"
        assert len(caption(drawing.name)) > 20
    for drawing in FIGURES[1:]:
        (report_inputs["figures"] / f"{drawing.name}.png").unlink()
    assert len(read().all("img")) == 1


def test_films_are_inside_the_page(read, tmp_path):
    """An empty file is a film that could not be made."""
    films = [tmp_path / name for name in ("PointGoal.webp", "AntDir.webp")]
    films[0].write_bytes(b"RIFF\x04\x00\x00\x00WEBP")
    films[1].write_bytes(b"")
    page = read(films=films)
    (picture,) = [x for x in page.all("img") if x["src"].startswith("data:image/webp;base64,UklG")]
    assert picture["alt"].startswith("PointGoal: a held-out task a row")
    films[1].write_bytes(b"GIF89a")
    with pytest.raises(InputError, match="is no WebP; make it again with metarl film"):
        read(films=films)


def test_a_chart_each_environment_and_each_named_problem(read):
    page = read()
    charts = [div["id"] for div in page.all("div") if "plotly-graph-div" in div.get("class", "")]
    assert charts == ["curve-0", "curve-1", "audit-0", "audit-1"]


@pytest.mark.parametrize(
    ("heights", "step"), [((0.02, 0.05), None), ((0.02, 0.2), None), ((0.002, 0.2), 1)]
)
def test_an_axis_has_ticks_though_it_spans_less_than_a_decade(heights, step):
    """Powers of ten alone where there are two of them."""
    audit = pd.DataFrame(
        {"problem": "chain", "estimator": "lsf", "counterpart": "", "sample_size": [4, 8]}
        | {"relative_bias": heights, "variance": heights}
    )
    (chart,) = charts.exact_audits(audit)
    assert (chart.layout.yaxis.dtick, chart.layout.yaxis2.dtick) == (step, step)


def test_without_tables_there_is_neither_a_chart_nor_plotly(read, report_inputs):
    page = read(training=(), exact=())
    assert page.all("script") == []
    assert report_inputs["output"].stat().st_size < 100_000


def test_nothing_is_loaded(read, report_inputs):
    page = read()
    sources = [attributes["src"] for _, attributes in page.elements if "src" in attributes]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    text = report_inputs["output"].read_text()
    assert text.count(library()) == 1
    assert re.findall(r"(?:src|href)=.?https?:", text.replace(library(), "")) == []
    assert not re.search(r"@import|url\(", text.replace(library(), ""))


def test_texts_are_escaped(read, report_inputs):
    page = read()
    text = report_inputs["output"].read_text().replace(library(), "")
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    assert page.text.count("<script>alert('a note')</script>") == 3 * 2 + 1


def test_a_banner_only_where_one_is_given(read):
    def banners(page):
        return [p for p in page.all("p") if p.get("class") == "banner"]

    assert banners(read()) == []
    page = read(banner="means <nothing>")
    assert len(banners(page)) == 1 and "means <nothing>" in page.text


def test_where_it_comes_from(read):
    page = read()
    for words in ("Scale: small.", "seeds: [0]", "train/PointGoal", "1.50", "plotly", "core"):
        assert words in page.text


def test_the_same_inputs_give_the_same_bytes(read, report_inputs):
    read()
    first = report_inputs["output"].read_bytes()
    read()
    assert report_inputs["output"].read_bytes() == first


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("figures/claims.json", None, "is no claims.json"),
        ("figures/claims.json", "[]", "is no claims.json"),
        ("figures/claims.json", json.dumps({"claims": [{"id": "a"}]}), "is no claims.json"),
        ("figures/claims.json", "{", "is no claims.json"),
        ("figures/budget.png", "", "budget.png is no PNG"),
        ("training.parquet", None, "no such file"),
        ("exact.parquet", "text", "not a parquet file"),
        ("benchmarks/train/PointGoal/lsf.tsv", "s\n1\n", "has no cpu_time"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, report_inputs, name, content, message):
    path = tmp_path / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        write_page(**report_inputs)
    assert "\n" not in str(caught.value)
    assert not report_inputs["output"].exists()


def test_absent_benchmarks_and_an_output_that_is_an_input_are_refused(report_inputs, tmp_path):
    for replaced, message in (
        ({"benchmarks": tmp_path / "absent"}, "no such folder"),
        ({"output": report_inputs["claims"]}, "an input too"),
    ):
        with pytest.raises(InputError, match=message):
            write_page(**(report_inputs | replaced))
    assert json.loads(report_inputs["claims"].read_text())["claims"]
