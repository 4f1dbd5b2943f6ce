"""What holds for every figure."""

import importlib
import inspect
import struct
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from xml.etree import ElementTree

import jinja2
import matplotlib
import pandas as pd
import pytest
from matplotlib.text import Text

from metarl import figures
from metarl.configuration import read_configuration
from metarl.errors import InputError
from metarl.figures import style

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "workflow" / "report"
MATRIX = "estimator_matrix"  # of two kinds of tables: test_estimator_matrix.py
every_figure = pytest.mark.parametrize("name", [name for name in figures.NAMES if name != MATRIX])


INTERVALS = {figure.name: figure.intervals for figure in figures.FIGURES}


def draw(name, paths):
    confidence = (0.95,) if INTERVALS[name] else ()
    figure = importlib.import_module(f"metarl.figures.{name}").draw(paths, *confidence)
    with style.context():
        figure.draw_without_rendering()  # computes the layout
    return figure


@every_figure
def test_pictures_are_valid_and_the_same_bytes_whatever_the_users_settings(
    name, tables_of, write, tmp_path
):
    paths = write(tables_of[name])
    figures.draw(name, paths, tmp_path / "v1.5")
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "svg.hashsalt": None}):
        figures.draw(name, paths, tmp_path / "second")
    for suffix in ("svg", "png"):
        first, second = (tmp_path / f"{stem}.{suffix}" for stem in ("v1.5", "second"))
        assert first.read_bytes() == second.read_bytes()
    assert ElementTree.parse(tmp_path / "v1.5.svg").getroot().tag.endswith("svg")
    width = struct.unpack(">I", (tmp_path / "v1.5.png").read_bytes()[16:20])[0]
    widths = style.DOUBLE_COLUMN, style.SINGLE_COLUMN
    assert width in [round(inches * style.SETTINGS["savefig.dpi"]) for inches in widths]


@every_figure
def test_text_is_legible_and_inside_the_picture(name, tables_of, write):
    figure = draw(name, write(tables_of[name]))
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 8
    legends = [*figure.legends, *filter(None, (axis.get_legend() for axis in figure.axes))]
    panels = [axis.get_window_extent() for axis in figure.axes]
    for legend in legends:
        box = legend.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(panel) for panel in panels)


@every_figure
def test_one_seed_and_two_points_are_enough(name, tables_of, write):
    frame = tables_of[name]
    if name == "exact_audit":
        frame = frame[(frame["problem"] == "chain") & (frame["sample_size"] <= 8)]
    elif name == "published_code":
        frame = frame[(frame["problem"] == "chain") & (frame["sample_size"] == 20)]
    elif name in ("sampled_audit", "budget"):
        frame = frame[frame["sample_size"].isin([4, 8]) & (frame["estimator"] == "lsf")]
    elif name == "convergence":
        frame = frame[(frame["seed"] == 0) & (frame["iteration"] < 2)]
    else:
        frame = frame[(frame["seed"] == 0) & (frame["environment"] == "PointGoal")]
        frame = frame[frame.get("iteration", frame["inner_step"]) < 2]
    assert draw(name, write(frame)).axes


@every_figure
def test_panels_without_a_finite_number_are_drawn(name, tables_of, write, nothing_finite):
    assert draw(name, write(nothing_finite(tables_of[name]))).axes


@every_figure
def test_nothing_is_written_on_bad_input(name, tables_of, write, tmp_path):
    frame = tables_of[name]
    paths = write(frame.drop(columns=frame.columns[0]))
    with pytest.raises(InputError, match="no column"):
        figures.draw(name, paths, tmp_path / "picture")
    assert not list(tmp_path.glob("picture*"))


def test_every_figure_has_a_module_and_a_caption_and_no_caption_is_left_over():
    captions = {path.stem for path in REPORT.glob("*.rst")} - {"claims", "workflow"}
    assert captions == set(figures.NAMES)
    for figure in figures.FIGURES:
        module = importlib.import_module(f"metarl.figures.{figure.name}")
        assert hasattr(module, "table") == figure.table
        assert ("confidence" in inspect.signature(module.draw).parameters) == figure.intervals


@pytest.mark.parametrize("scale", ["config", "smoke", "paper", "promp"])
def test_captions_quote_what_every_configuration_has(scale):
    config = read_configuration(ROOT / f"config/{scale}.yaml")
    strict = jinja2.Environment(undefined=jinja2.StrictUndefined)
    captions = {
        path.stem: strict.from_string(path.read_text()).render(snakemake=Namespace(config=config))
        for path in REPORT.glob("*.rst")
    }
    if scale == "config":
        assert "32 on bandit, 128 on chain;" in captions["convergence"]
        assert "10 on PointGoal, 5 on HalfCheetahDir, 10 on ReacherGoal." in captions["adaptation"]


@pytest.mark.parametrize("name", ["learning_curves", "adaptation", "sample_sizes"])
def test_less_confidence_draws_shorter_intervals(name, tables_of, write):
    """Of five seeds, so that an interval is not just their range."""
    frame = tables_of[name]
    more = frame[frame["seed"] < 2].assign(seed=lambda rows: rows["seed"] + 3)
    more = more.assign(mean_return=more["mean_return"] + 0.4)
    paths = write(pd.concat([frame, more]))
    module = importlib.import_module(f"metarl.figures.{name}")

    def heights(confidence: float) -> pd.Series:
        """Of bars, and of bands at each x."""
        axes = module.draw(paths, confidence).axes
        shapes = [path for axis in axes for one in axis.collections for path in one.get_paths()]
        points = [pd.DataFrame(path.vertices, columns=["x", "y"]) for path in shapes]
        by_x = pd.concat(points, keys=range(len(points)), names=["shape"]).groupby(["shape", "x"])
        return by_x["y"].max() - by_x["y"].min()

    wide, narrow = heights(0.95), heights(0.5)
    assert (narrow <= wide).all() and narrow.sum() < 0.8 * wide.sum()


def test_confidence_is_a_probability(tmp_path):
    with pytest.raises(InputError, match="confidence is 95: give a number between 0 and 1"):
        figures.draw("adaptation", [], tmp_path / "picture", 95)


def test_unknown_name(tmp_path):
    with pytest.raises(
        InputError, match="no figure 'pie': choose one of exact_audit, sampled_audit"
    ):
        figures.draw("pie", [], tmp_path / "picture")


def test_tensorflow_is_not_imported():
    modules = ["metarl.claims", *(f"metarl.figures.{name}" for name in figures.NAMES)]
    code = f"import sys, {', '.join(modules)}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
