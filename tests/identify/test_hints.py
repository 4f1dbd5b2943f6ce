"""Planted faults of a NumPy MAML are named, and policies of other kinds are recognised."""

from functools import partial

import numpy as np
import pytest
from numpy_maml import (
    ACTION,
    HIDDEN,
    HORIZON,
    OBSERVATION,
    ROWS,
    SHAPE,
    TASKS,
    Code,
    bundle,
    maml,
    mean_weights,
    parts,
    sample,
)

from metarl.errors import InputError
from metarl.estimators import CATALOGUE
from metarl.identify.bundle import read_bundle
from metarl.identify.compare import beside_catalogue, compare
from metarl.identify.readings import Reading
from metarl.identify.search import search
from metarl.identify.text import describe

PLAIN = Code()
KERNELS = ((OBSERVATION, HIDDEN), (HIDDEN, ACTION))


@pytest.fixture
def identified(tmp_path, monkeypatch):
    """Beside some entries only: the loss of each other kind costs a second more."""
    few = {name: CATALOGUE[name] for name in ("maml", "lsf", "emaml", "unbiased")}

    def identified(arrays: dict, *others: str) -> dict:
        entries = few | {name: CATALOGUE[name] for name in others}
        for module in ("compare", "search", "readings"):
            monkeypatch.setattr(f"metarl.identify.{module}.CATALOGUE", entries)
        np.savez(tmp_path / "bundle.npz", **arrays)
        return compare(tmp_path / "bundle.npz", read_bundle(tmp_path / "bundle.npz"), 1e-6)

    return identified


def planted(code: Code = PLAIN, lengths: bool = False, **weights) -> dict:
    theta, steps = sample(3, code, lengths)
    return bundle(code, theta, steps, maml(code, theta, steps, **weights))


def scaled(factor: float) -> dict:
    arrays = planted()
    return arrays | {"gradient": factor * arrays["gradient"]}


def transposed(vector: np.ndarray) -> np.ndarray:
    """Kernels [in, out] as [out, in]."""
    first, bias_1, second, rest = np.split(vector, [15, 20, 30])
    first, second = (
        block.reshape(shape).T.ravel()
        for block, shape in zip((first, second), KERNELS, strict=True)
    )
    return np.concatenate([first, bias_1, second, rest])


def log_std_first(vector: np.ndarray) -> np.ndarray:
    return np.roll(vector, ACTION)


def laid_out(*orders, code: Code = PLAIN) -> dict:
    arrays = planted(code)
    for order in orders:
        arrays |= {key: order(arrays[key]) for key in ("parameters", "gradient")}
    return arrays


def other_rate(factor: float) -> dict:
    arrays = planted()
    return arrays | {"inner_learning_rate": factor * arrays["inner_learning_rate"]}


def padded(step: dict, task: int) -> np.ndarray:
    return step["mask"][task] * step["advantages"][task] / (ROWS * HORIZON)


def summed(step: dict, task: int) -> np.ndarray:
    return step["advantages"][task] / HORIZON


def normalized(step: dict, task: int) -> np.ndarray:
    advantages = step["advantages"][task]
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8) / advantages.size


def clamped() -> dict:
    """One of the two log stds lies below the floor."""
    code = Code(log_std=-0.2)
    theta, steps = sample(3, code)
    theta[-2:] = -0.9, 0.4
    return bundle(code, theta, steps, maml(code, theta, steps))


PLANTED = {
    "sign": (scaled(-1.0), ["sign"]),
    "sum over tasks": (scaled(TASKS), ["sum_over_tasks"]),
    "descent summed over tasks": (scaled(-TASKS), ["sign", "sum_over_tasks"]),
    "sum over trajectories": (scaled(ROWS), ["sum_over_trajectories"]),
    "clipped": (scaled(0.0069), ["scale"]),
    "sums in both losses": (
        planted(inner_weights=summed, outer_weights=summed),
        ["sum_over_trajectories"],
    ),
    "transposed": (laid_out(transposed), ["transposed_kernels"]),
    "log std first": (laid_out(log_std_first), ["log_std_first"]),
    "PyTorch's parameters()": (
        laid_out(transposed, log_std_first),
        ["log_std_first", "transposed_kernels"],
    ),
    "eta of ten times": (other_rate(0.1), ["inner_learning_rate"]),
    "eta of any factor": (other_rate(1.7), ["inner_learning_rate"]),
    "inner step of descent": (
        planted(Code(learning_rates=(-0.1,))) | {"inner_learning_rate": np.array(0.1)},
        ["inner_learning_rate"],
    ),
    "eta of the second inner step": (
        planted(Code(learning_rates=(0.1, 0.05))) | {"inner_learning_rate": np.array([0.1, 0.085])},
        ["inner_learning_rate"],
    ),
    "large eta of the second inner step": (  # 2 times it is farther off than 0.3 times it
        planted(Code(learning_rates=(1.0, 1.7))) | {"inner_learning_rate": np.array(1.0)},
        ["inner_learning_rate"],
    ),
    "descent summed over tasks, log std first": (
        {key: -TASKS * x if key == "gradient" else x for key, x in laid_out(log_std_first).items()},
        ["log_std_first", "sign", "sum_over_tasks"],
    ),
    "action mean": (planted(Code(action_mean=True)), ["action_mean"]),
    "padding": (
        planted(lengths=True, inner_weights=padded, outer_weights=padded),
        ["padding"],
    ),
    "padding of the outer mean": (planted(lengths=True, outer_weights=padded), ["padding"]),
    "activation": (planted(Code(relu=True)), ["activation"]),
    "normalized": (
        planted(inner_weights=normalized, outer_weights=normalized),
        ["advantages_normalized"],
    ),
    "clamped": (clamped(), ["std_clamped"]),
    "transposed and relu": (
        laid_out(transposed, code=Code(relu=True)),
        ["activation", "transposed_kernels"],
    ),
    "PyTorch's parameters() and an eta of any factor": (
        laid_out(transposed, log_std_first) | {"inner_learning_rate": np.array(0.17)},
        ["inner_learning_rate", "log_std_first", "transposed_kernels"],
    ),
    "action mean and advantages normalized": (
        planted(Code(action_mean=True), inner_weights=normalized, outer_weights=normalized),
        ["action_mean", "advantages_normalized"],
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_faults(fault, identified):
    """The fault's changes come first, and under them the gradient is MAML's to rounding."""
    arrays, changes = PLANTED[fault]
    result = identified(arrays)
    assert result["matches"] == []
    first = result["hints"][: len(changes)]
    assert sorted(hint["change"] for hint in first) == changes
    assert {hint["entry"] for hint in first} == {"maml"}
    assert max(hint["residual"] for hint in first) < 1e-9


def test_the_search_is_bounded(identified, monkeypatch, capsys):
    """Without time nothing is tried, and that is said; the comparison itself is whole."""
    at_once = partial(search, seconds=0.0)
    monkeypatch.setattr("metarl.identify.hints.search", at_once)
    result = identified(laid_out(transposed))
    assert result["hints"] == [] and len(result["differences"]) == 4
    assert {"parameter layouts", "inner learning rates", "two changes at a time"} <= set(
        result["left_out"]
    )
    assert "not tried for lack of time: parameter layouts, activations, " in describe(result)


def test_progress_says_how_long_the_search_may_take(identified, capsys):
    identified(laid_out(transposed))
    assert "metarl: trying parameter layouts, at most 300 s more" in capsys.readouterr().err


RECOGNISED = {
    "tanh": planted(),
    "unequal lengths": planted(lengths=True),
    "relu": planted(Code(relu=True)) | {"activation": np.array("relu")},
    "fixed std": planted(Code(policy="fixed")),
    "state-dependent std": planted(Code(policy="state")),
    "softmax": planted(Code(policy="softmax")),
    "two inner steps": planted(Code(learning_rates=(0.1, 0.1))),
    "rates of their own": planted(Code(learning_rates=(0.1, 0.04))),
}


for one in (np.eye(3), np.eye(3, dtype=np.int64), np.eye(3, dtype=bool)):
    RECOGNISED[f"softmax, one-hot of {one.dtype}"] = RECOGNISED["softmax"] | {
        f"step{s}/actions": one[RECOGNISED["softmax"][f"step{s}/actions"]] for s in (0, 1)
    }
RECOGNISED["softmax, one-hot in one step alone"] = RECOGNISED["softmax, one-hot of float64"] | {
    "step1/actions": RECOGNISED["softmax"]["step1/actions"]
}
RAGGED = planted(Code(policy="softmax"), lengths=True)
RECOGNISED["softmax, one-hot and padded with zeros"] = RAGGED | {
    f"step{s}/actions": np.eye(3)[RAGGED[f"step{s}/actions"]] * RAGGED[f"step{s}/mask"][..., None]
    for s in (0, 1)
}


@pytest.mark.parametrize("kind", RECOGNISED)
def test_policies_of_every_kind(kind, identified):
    result = identified(RECOGNISED[kind])
    assert result["matches"][0] == "maml"
    assert result["differences"]["maml"] < 1e-10
    assert (result["hints"], result["reading"]) == ([], "")


def test_fixed_std_that_is_given(identified, tmp_path):
    """std 1 as a key; a wrong one is no match as it stands."""
    arrays = planted(Code(policy="fixed"))
    assert identified(arrays | {"log_std": np.zeros(ACTION)})["matches"][0] == "maml"
    np.savez(tmp_path / "wrong.npz", **arrays, log_std=np.full(ACTION, 0.3))
    wrong = Reading(read_bundle(tmp_path / "wrong.npz"))
    assert beside_catalogue(wrong, 1e-6).matches == []


@pytest.mark.parametrize("kind", ["tanh", "state-dependent std", "softmax"])
def test_a_fixed_std_of_a_policy_without_one(kind, identified):
    with pytest.raises(InputError, match="log_std is for a fixed std, but parameters"):
        identified(RECOGNISED[kind] | {"log_std": np.zeros(ACTION)})


def test_fixed_std_that_is_not_given_is_fitted(identified):
    """Learned ones whose parameters and gradient were left out of the dump."""
    arrays = planted()
    log_std = arrays["parameters"][-ACTION:]
    for key in ("parameters", "gradient"):
        arrays[key] = arrays[key][:-ACTION]
    result = identified(arrays)
    assert result["matches"][0] == "maml"
    assert f"log std [{', '.join(f'{value:.6g}' for value in log_std)}]" in result["reading"]


def test_two_heads_of_a_state_dependent_std(identified):
    """Mean and log std as two layers one after the other."""
    arrays = planted(Code(policy="state"))

    def heads(vector):
        network, kernel, bias = np.split(vector, [20, 40])
        means, log_stds = np.split(kernel.reshape(HIDDEN, 4), 2, axis=1)
        return np.concatenate([network, means.ravel(), bias[:2], log_stds.ravel(), bias[2:]])

    arrays |= {key: heads(arrays[key]) for key in ("parameters", "gradient")}
    result = identified(arrays)
    assert result["matches"][0] == "maml"
    assert "log std" in result["reading"]


def scores_bundle(weights: dict[str, float]) -> dict:
    """A gradient known by scores and vectors alone."""
    theta, steps = sample(4, Code())
    terms = parts(Code(), theta, steps)
    total = terms["v"] + terms["inner Jacobian"]
    total = total + sum(weight * terms[name] for name, weight in weights.items())
    return {
        "step0/scores": terms["scores"],
        "step0/advantages": steps[0]["advantages"],
        "step0/rewards": steps[0]["rewards"],
        "inner_jacobian_vector": terms["inner Jacobian"],
        "outer_gradient": terms["v"],
        "inner_learning_rate": np.array(0.1),
        "gradient": total.mean(axis=0),
        "sign": np.array("ascent"),
    }


LVC = {"self": 1.0}
DICE = {"self": 1.0, "later": 1.0, "causes": 1.0}
LSF = {"self": 1.0, "later": 1.0, "earlier": 1.0}


@pytest.mark.parametrize(("name", "weights"), [("lvc", LVC), ("dice", DICE), ("lsf", LSF)])
def test_bundles_of_scores(name, weights, identified):
    arrays = scores_bundle(weights)
    result = identified(arrays, "lvc", "dice")
    assert name in result["matches"]
    assert result["differences"][name] < 1e-10
    assert "unbiased" not in result["differences"]  # no outer rewards

    outer = {f"step1/{key}": np.ones(SHAPE) for key in ("rewards", "advantages")}
    more = identified(arrays | outer, "lvc", "dice", "lsf2")
    assert name in more["matches"] and "unbiased" in more["differences"]
    assert "lsf2" not in more["differences"]  # it needs the outer scores elsewhere


@pytest.mark.parametrize(
    ("factor", "changes"),
    [(ROWS, ["sum_over_trajectories"]), (-TASKS, ["sign", "sum_over_tasks"])],
)
def test_sums_in_bundles_of_scores(factor, changes, identified):
    """Their outer batch is not dumped: its size is the inner one's, and a factor of 1 is no sum."""
    arrays = scores_bundle(LVC)
    hints = identified(arrays | {"gradient": factor * arrays["gradient"]}, "lvc")["hints"]
    assert [hint["change"] for hint in hints] == changes


def test_padding_that_a_published_deviation_counts_too(identified):
    """With its losses the gradient is a sum of the terms; it is maml's, of padded means."""
    arrays = planted(lengths=True, inner_weights=padded, outer_weights=padded)
    result = identified(arrays, "promp_dice_as_coded", "maml")
    assert [(hint["change"], hint["entry"]) for hint in result["hints"]] == [("padding", "maml")]


@pytest.mark.parametrize("factor", [10.0, 1.7])
def test_scores_with_another_inner_learning_rate(factor, identified):
    """c is off, v and the inner Jacobian's term were dumped as they are."""
    result = identified(scores_bundle(LVC) | {"inner_learning_rate": np.array(0.1 / factor)}, "lvc")
    assert result["terms"]["self"] == pytest.approx(factor)
    first = result["hints"][0]
    assert (first["change"], first["entry"]) == ("inner_learning_rate", "lvc")
    assert first["residual"] < 1e-9


def test_other_readings_of_the_inner_jacobian(identified):
    arrays = scores_bundle(LVC)
    vector = arrays["inner_jacobian_vector"]
    for other in (arrays["outer_gradient"] + vector, vector / 0.1):
        result = identified(arrays | {"inner_jacobian_vector": other}, "lvc")
        assert "lvc" in result["matches"]
        assert result["reading"].startswith("inner_jacobian_vector as")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step0/actions": np.full(SHAPE, 3)}, "parameters has shape .*; for 4 or more actions"),
        ({"step1/actions": np.full(SHAPE, 3)}, "step1/actions has 3; the network has 3 outputs"),
        ({"step0/actions": np.full(SHAPE, 2**63 - 1)}, "for 9223372036854775808 or more actions"),
        ({"step0/actions": np.full(SHAPE, -1)}, "number the actions 0, 1"),
        ({"step1/actions": np.ones((*SHAPE, 2))}, "give integers as in step0"),
        ({"colour": np.ones(3)}, "unknown key 'colour'; did you mean"),
        ({"inner_learning_rate": np.ones(3)}, "give one number"),
    ],
)
def test_bad_bundles_of_integer_actions(change, message, identified):
    with pytest.raises(InputError, match=message):
        identified(RECOGNISED["softmax"] | change)


def test_scores_do_not_tell_an_inner_kl(identified):
    with pytest.raises(InputError, match="kl_coefficient in a bundle of scores"):
        identified(scores_bundle(LVC) | {"kl_coefficient": np.array(0.1)})


def test_scores_of_several_inner_steps_are_refused(identified):
    arrays = scores_bundle(LVC)
    more = {f"step{s}/rewards": np.ones(SHAPE) for s in (1, 2)}
    with pytest.raises(InputError, match="scores of 2 inner steps; give those of one"):
        identified(arrays | more)


def test_mean_weights_of_the_example():
    """The planted cases' own average: weights sum to the mean advantage."""
    _, steps = sample(0, Code(), lengths=True)
    mask = steps[0]["mask"][1].astype(bool)
    expected = steps[0]["advantages"][1][mask].mean()
    np.testing.assert_allclose(mean_weights(steps[0], 1).sum(), expected)
