import itertools

import pandas as pd
from matplotlib.colors import to_rgb

from metarl.figures import style


def test_order_and_looks_do_not_depend_on_what_else_is_drawn():
    everything = style.looks(style.ESTIMATORS)
    some = style.looks(["maml", "lsf", "unbiased"])
    assert list(some) == ["unbiased", "lsf", "maml"]
    assert all(look == everything[name] for name, look in some.items())


def test_unknown_estimators_come_last_and_look_like_none_of_the_known():
    found = style.looks(["mine:b", "lsf", "mine:a"])
    assert list(found) == ["lsf", "mine:a", "mine:b"]
    known = {look.marker for look in style.ESTIMATORS.values()}
    assert found["mine:a"].marker not in known
    assert found["mine:a"] != found["mine:b"]


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
    found = style.algorithm_looks(frame)
    assert list(found) == ["c", "a", "b"]
    assert found["a"].colour == found["b"].colour == style.ESTIMATORS["maml"].colour
    assert found["a"].fill != found["b"].fill


def test_settings_leave_no_trace():
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    with style.context():
        assert matplotlib.rcParams["font.size"] == style.SETTINGS["font.size"] != before
    assert matplotlib.rcParams["font.size"] == before
