"""The matrix of estimators: numbers, table, picture, and bad input."""

import pytest

from metarl import figures
from metarl.errors import InputError
from metarl.figures import estimator_matrix


def test_numbers_and_table(audit_frame, sampled_frame, write, tmp_path):
    paths = write(audit_frame, sampled_frame)
    rows = estimator_matrix.numbers(paths).set_index("estimator")
    assert list(rows.index) == ["lsf", "maml"]
    minus = "\N{MINUS SIGN}"
    assert rows.loc["lsf", "bias slope"] == f"{minus}1.00"
    assert rows.loc["maml", "bias slope"] == "+0.00"
    assert rows.loc["maml", "variance slope"] == f"{minus}1.00"
    assert rows.loc["maml", "A, trained, N = 16"] == "0.50"
    assert not any("random" in column for column in rows)
    for stem in ("a", "b"):
        figures.draw("estimator_matrix", paths, tmp_path / stem)
    for suffix in ("svg", "png", "md"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert "| lsf | every t' |" in (tmp_path / "a.md").read_text()


def test_both_kinds_of_tables_are_needed(audit_frame, sampled_frame, write, tmp_path):
    exact, sampled = write(audit_frame, sampled_frame)
    with pytest.raises(InputError, match="no exact audit rows"):
        figures.draw("estimator_matrix", [sampled], tmp_path / "picture")
    with pytest.raises(InputError, match="no sampled audit rows"):
        figures.draw("estimator_matrix", [exact], tmp_path / "picture")
    other = audit_frame[audit_frame["problem"] == "bandit"]
    other.to_parquet(exact)
    with pytest.raises(InputError, match="no exact audit of chain given"):
        figures.draw("estimator_matrix", [exact, sampled], tmp_path / "picture")
    assert not list(tmp_path.glob("picture*"))
