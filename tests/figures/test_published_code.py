"""The figure and table of published code: numbers at N = 20 beside their counterparts."""

import pytest

from metarl.errors import InputError
from metarl.figures import published_code
from metarl.figures.published_code import PAPERS, SUFFIX, WITHOUT_COUNTERPART


def test_what_the_catalogue_calls_as_coded_has_a_counterpart_here():
    from metarl.estimators import CATALOGUE

    coded = {name: entry.counterpart for name, entry in CATALOGUE.items() if entry.counterpart}
    assert coded and set(coded.values()) <= set(PAPERS)
    assert all(name.endswith(SUFFIX) for name in coded)
    assert not any(CATALOGUE[name].counterpart for name in WITHOUT_COUNTERPART)


def test_summary(audit_frame, write):
    rows = published_code.summary(write(audit_frame))
    chain = rows[rows["problem"] == "chain"].set_index("estimator")
    assert list(chain.index) == ["unbiased", "maml", "pytorch_maml_rl_as_coded", "lsf"]
    assert chain.loc["lsf", "relative_bias"] == pytest.approx(0.05 / 20)
    assert chain.loc["lsf", "relative_bias_slope"] == pytest.approx(-1.0)
    assert chain.loc["pytorch_maml_rl_as_coded", "variance"] == pytest.approx(2.0 / 20)
    assert chain.loc["pytorch_maml_rl_as_coded", "counterpart"] == "maml"


def test_table(audit_frame, write):
    text = published_code.table(write(audit_frame))
    assert (
        "| chain | maml | pytorch_maml_rl_as_coded | 4.0e-01 | +0.00 | 1.0e-01 | \u22121.00 |"
        in text
    )
    assert "| chain | unbiased | - | 0 | - | 6.0e+02 | +1.00 |" in text


def test_without_that_sample_size(audit_frame, write):
    with pytest.raises(InputError, match="no problem was audited at N = 20: add it"):
        published_code.draw(write(audit_frame[audit_frame["sample_size"] != 20]))
