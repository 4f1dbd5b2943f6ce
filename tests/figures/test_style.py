import itertools

import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from metarl.figures import style


def test_order_and_looks_do_not_depend_on_what_else_is_drawn():
    everything = style.looks(style.ESTIMATORS)
    some = style.looks(["maml", "lsf", "unbiased"])
    assert list(some) == ["unbiased", "lsf", "maml"]
    assert all(look == everything[name] for name, look in some.items())


def test_unknown_estimators_come_last_and_look_like_none_of_the_known():
    looks = style.looks(["package:b", "lsf", "package:a"])
    assert list(looks) == ["lsf", "package:a", "package:b"]
    known = {look.marker for look in style.ESTIMATORS.values()}
    assert looks["package:a"].marker not in known
    assert looks["package:a"] != looks["package:b"]


def test_every_look_differs_in_marker_and_in_colour():
    looks = [*style.ESTIMATORS.values(), *style.OTHERS]
    assert len({look.marker for look in looks}) == len(looks)
    distances = [
        sum(abs(a - b) for a, b in zip(to_rgb(one.colour), to_rgb(two.colour), strict=True))
        for one, two in itertools.combinations(looks, 2)
    ]
    assert min(distances) > 0.2


def test_algorithms_of_one_estimator_share_its_colour_and_differ_in_fill():
    frame = pd.DataFrame({"algorithm": ["b", "a", "c"], "estimator": ["maml", "maml", "unbiased"]})
    looks = style.algorithm_looks(frame)
    assert list(looks) == ["c", "a", "b"]
    assert looks["a"].colour == looks["b"].colour == style.ESTIMATORS["maml"].colour
    assert looks["a"].fill != looks["b"].fill


def test_settings_leave_no_trace():
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    with style.context():
        assert matplotlib.rcParams["font.size"] == style.SETTINGS["font.size"] != before
    assert matplotlib.rcParams["font.size"] == before


def test_one_far_line_makes_the_scale_logarithmic_and_near_ones_do_not():
    figure = Figure()
    near, far = figure.subplots(1, 2)
    for axis, lines in (
        (near, [(-40, -20), (-30, -60)]),
        (far, [(-40, -20), (-41, -19), (-50, -600)]),
    ):
        for line in lines:
            axis.plot([0, 1], line)
        style.compress_far_returns(axis)
    assert near.get_yscale() == "linear"
    assert far.get_yscale() == "symlog"
    assert far.get_title().endswith("(logarithmic beyond ±60)")
