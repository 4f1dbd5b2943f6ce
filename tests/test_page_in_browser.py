"""The report page as a browser shows it: everything is drawn, and nothing is loaded."""

import re
import shutil
import subprocess

import pytest

from metarl.figures import FIGURES
from metarl.report_page import write_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
NOWHERE = "--proxy-server=127.0.0.1:9"  # a port where nothing listens: every request fails
# What the test asks of the page once it is loaded; the answers are read from the dumped document.
PROBE = """<script>
window.addEventListener("load", async () => {
  const answers = document.body.dataset;
  const images = [...document.images];
  answers.images = images.filter((image) => image.naturalWidth > 0).length;
  const chart = document.getElementById("curve-0");
  const lines = () => chart.querySelectorAll(".scatterlayer .trace").length;
  const redrawn = new Promise((resolve) => chart.on("plotly_afterplot", resolve));
  answers.before = lines();
  const item = chart.querySelector(".legendtoggle");
  for (const kind of ["mousedown", "mouseup"])
    item.dispatchEvent(new MouseEvent(kind, {bubbles: true, button: 0, view: window}));
  await redrawn;
  answers.after = lines();
  const requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  answers.requests = requests.filter((name) => !name.startsWith("data:")).length;
  answers.finished = "yes";
});
</script>
"""

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"none of {', '.join(NAMES)} is installed: no browser to show the page"
)


def browse(page, folder, *arguments):
    result = subprocess.run(
        [
            *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}", NOWHERE),
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000", *arguments),
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stderr.splitlines() if "CONSOLE" in line] == []
    return result.stdout


def test_a_browser_draws_everything_and_asks_the_network_for_nothing(report_inputs, tmp_path):
    write_page(**report_inputs, banner="of a test")
    probed = tmp_path / "probed.html"
    text = report_inputs["output"].read_text()
    head, end, tail = text.rpartition("</body>")
    probed.write_text(head + PROBE + end + tail)
    document = browse(probed, tmp_path, "--dump-dom")
    body = re.search(r"<body[^>]*>", document)[0]
    answers = dict(re.findall(r'data-(\w+)="(\w+)"', body))
    assert answers["finished"] == "yes"
    assert int(answers["images"]) == len(FIGURES)
    assert answers["requests"] == "0"
    # two algorithms of two seeds and a mean each; a click on a name hides all three lines
    assert (answers["before"], answers["after"]) == ("6", "3")
    charts = re.findall(r'<div id="((?:curve|audit)-\d)" class="[^"]*js-plotly-plot', document)
    assert charts == ["curve-0", "curve-1", "audit-0", "audit-1"]
    buttons = set(re.findall(r'data-title="([^"]+)"', document))
    assert "Zoom" in buttons and not any("Share" in button for button in buttons)
    assert document.count('class="main-svg"') >= len(charts)


MEASURE = """<script>
window.addEventListener("load", () => {
  const right = (selector) => Math.max(
    ...[...document.querySelectorAll(selector)].map((part) => part.getBoundingClientRect().right));
  parent.postMessage({
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    verdicts: right(".verdicts td"),
    legend: right(".legend .traces text"),
  }, "*");
});
</script>
"""
FRAME = """<body><iframe src="framed.html" style="width: 400px; height: 900px; border: 0"></iframe>
<script>onmessage = (event) => Object.assign(document.body.dataset, event.data);</script></body>"""


def test_on_a_telephone_nothing_is_cut_off(report_inputs, tmp_path):
    """In a frame, since a window of Chromium is never that narrow."""
    write_page(**report_inputs)
    head, end, tail = report_inputs["output"].read_text().rpartition("</body>")
    (tmp_path / "framed.html").write_text(head + MEASURE + end + tail)
    page = tmp_path / "narrow.html"
    page.write_text(FRAME)
    body = re.search(r"<body[^>]*>", browse(page, tmp_path, "--dump-dom"))[0]
    measured = {key: float(value) for key, value in re.findall(r'data-(\w+)="([\d.]+)"', body)}
    assert measured["width"] == measured["page"] == 400
    assert 0 < measured["verdicts"] <= 400 and 0 < measured["legend"] <= 400


def test_it_can_be_photographed(report_inputs, tmp_path):
    write_page(**report_inputs)
    picture = tmp_path / "page.png"
    browse(report_inputs["output"], tmp_path, "--window-size=1200,1600", f"--screenshot={picture}")
    from PIL import Image

    image = Image.open(picture).convert("RGB")
    assert image.size == (1200, 1600)
    assert len(image.getcolors(1 << 24)) > 20  # not blank
