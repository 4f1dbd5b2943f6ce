"""`metarl identify`: published gradients are recognised, damaged bundles get one line."""

import io
import itertools
import json
import re
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from metarl.audit import exact
from metarl.audit.settings import ExactSettings
from metarl.cli import main
from metarl.errors import InputError
from metarl.estimators import CATALOGUE, meta_gradient
from metarl.identify.bundle import read_bundle
from metarl.identify.compare import FLOAT32_TOLERANCE, compare
from metarl.identify.exact_numbers import exact_numbers
from metarl.identify.references import reference_gradients
from metarl.identify.text import PRODUCTS, describe
from metarl.objectives import kl_gradient
from metarl.outer_values import Sampled
from metarl.policies import GaussianMLPPolicy, log_prob
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories

ORACLES = Path(__file__).parents[1] / "oracles"
PUBLISHED = {
    "maml": "trpo_maml_loglik__lr0.1_s1.npz",
    "lvc": "trpo_maml_lratio__lr0.1_s1.npz",
    "dice": "dice_maml__lr0.1_s1.npz",
    "lsf": "explicit_lsf__lr0.1_s1.npz",
}
# What gives the same gradient where episodes have equal length and rewards-to-go are the
# advantages.
AGREE = {
    "maml": ["maml", "pytorch_maml_rl_as_coded"],
    "dice": ["dice", "tmaml", "promp_dice_as_coded"],
}
FIELDS = {
    "observations": "obs",
    "actions": "act",
    "advantages": "adv",
    "rewards": "adjusted_rewards",
    "score_rewards": "adj_avg_rewards",
    "mask": "mask",
}


def published(name: str, dtype: type = np.float64) -> dict[str, np.ndarray]:
    """A bundle made of an oracle."""
    file = np.load(ORACLES / PUBLISHED[name], allow_pickle=False)
    if name == "lsf":
        gradient, sign = file["g_lsf"], "ascent"
    else:
        gradient, sign = file["grad_flat" if dtype is np.float64 else "f32/grad_flat"], "descent"
    bundle = {
        f"step{s}/{ours}": file[f"step{s}/{theirs}"].astype(dtype)
        for s in (0, 1)
        for ours, theirs in FIELDS.items()
    }
    return bundle | {
        "hidden_sizes": np.array([8, 8]),
        "inner_learning_rate": np.array(0.1),
        "parameters": file["theta_flat"].astype(dtype),
        "gradient": gradient.astype(dtype),
        "sign": np.array(sign),
    }


@pytest.fixture
def save(tmp_path):
    def save(bundle: dict, name: str = "bundle.npz") -> Path:
        np.savez(tmp_path / name, **bundle)
        return tmp_path / name

    return save


def identified(path, tolerance):
    """The comparison of one bundle."""
    return compare(path, read_bundle(path), tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_gradients(name, dtype, save):
    result = identified(save(published(name, dtype)), 1e-6)
    assert result["matches"] == AGREE.get(name, [name])
    assert set(result["differences"]) == set(CATALOGUE)
    values = list(result["residuals"].values())
    assert list(result["residuals"]) == list(result["differences"])
    assert all(before <= after * (1 + 1e-6) + 1e-12 for before, after in itertools.pairwise(values))
    assert result["dtype"] == np.dtype(dtype).name
    assert result["tolerance"] == (1e-6 if dtype is np.float64 else FLOAT32_TOLERANCE)
    limit = 1e-10 if dtype is np.float64 else 1e-5
    assert result["differences"][name] < limit


def test_float32_tolerance_keeps_estimators_apart(save):
    """The nearest wrong entry, E-MAML's small term, is a hundred times further off than the
    tolerance."""
    differences = identified(save(published("maml", np.float32)), 1e-6)["differences"]
    others = [value for name, value in differences.items() if name not in AGREE["maml"]]
    assert min(others) > 10 * FLOAT32_TOLERANCE


POLICY = GaussianMLPPolicy(3, 2, (5,))


def made(name: str, inner_steps: int, moved: bool, clip=None, kl=0.0) -> dict[str, np.ndarray]:
    """A bundle of `name`'s own gradient on random data with episodes of unequal length, off policy
    where `moved`."""
    draw = np.random.default_rng(5)
    tasks, rows, horizon = 2, 3, 4
    bundle, batches = {}, []
    for s in range(inner_steps + 1):
        shape = (tasks, rows, horizon)
        lengths = draw.integers(2, horizon + 1, (tasks, rows, 1))
        step = {
            "observations": draw.normal(size=(*shape, 3)),
            "actions": draw.normal(size=(*shape, 2)),
            "advantages": draw.normal(size=shape),
            "rewards": draw.normal(size=shape),
            "score_rewards": draw.normal(size=shape),
            "mask": (np.arange(horizon) < lengths).astype(float),
        }
        behaviour = tuple(0.3 * draw.normal(size=(2, *shape, 2)))
        bundle |= {f"step{s}/{key}": value for key, value in step.items()}
        bundle |= {f"step{s}/mean": behaviour[0], f"step{s}/log_std": behaviour[1]}
        batches.append(
            Trajectories(
                *(tf.constant(value) for value in step.values()),
                behaviour=tuple(map(tf.constant, behaviour)),
                weights=tf.fill([tasks, rows], tf.constant(1.0 / rows, tf.float64)),
                sample_size=tf.constant(float(rows), tf.float64),
            )
        )
    parameters = 0.3 * draw.normal(size=POLICY.parameter_size)
    evaluated = parameters + (0.1 if moved else 0.0) * draw.normal(size=POLICY.parameter_size)
    gradient = meta_gradient(
        POLICY,
        CATALOGUE[name],
        tf.constant(np.tile(evaluated, (tasks, 1))),
        batches[:-1],
        InnerSettings(0.2, "steps"),
        partial(Sampled, POLICY, batches[-1], "steps", clip),
        inner_penalty=(lambda s, at, inner: kl / inner_steps * kl_gradient(POLICY, at, inner)),
    )
    bundle |= {
        "hidden_sizes": np.array([5]),
        "inner_learning_rate": np.array(0.2),
        "parameters": parameters,
        "gradient": gradient.numpy().mean(axis=0),
        "sign": np.array("ascent"),
    }
    if moved:
        bundle["evaluation_parameters"] = evaluated
    if clip:
        bundle["clip"] = np.array(clip)
    if kl:
        bundle["kl_coefficient"] = np.array(kl)
    return bundle


def only(monkeypatch, *names: str) -> None:
    """Leaves these entries in the catalogue that bundles are compared with."""
    few = {name: CATALOGUE[name] for name in names}
    for module in ("compare", "search", "readings"):
        monkeypatch.setattr(f"metarl.identify.{module}.CATALOGUE", few)


@pytest.mark.parametrize(
    ("name", "inner_steps"),
    [("maml", 1), ("lvc", 2), ("dice", 3), ("tmaml", 2), ("lsf", 3), ("emaml", 2), ("unbiased", 1)],
)
def test_steps_masks_and_evaluation_parameters(name, inner_steps, save, monkeypatch):
    only(monkeypatch, "maml", "lvc", "dice", "tmaml", "lsf", "emaml", "unbiased")
    path = save(made(name, inner_steps, moved=True))
    result = identified(path, 1e-9)
    assert result["matches"] == [name]
    assert (PRODUCTS in describe(result)) == (name in ("dice", "tmaml", "lsf"))  # sums of terms


def test_clip_and_kl_of_promp(save, monkeypatch):
    only(monkeypatch, "maml", "lvc")
    bundle = made("lvc", 2, moved=True, clip=0.2, kl=0.7)
    assert identified(save(bundle), 1e-9)["matches"] == ["lvc"]
    for key in ("clip", "kl_coefficient"):
        less = {name: value for name, value in bundle.items() if name != key}
        assert identified(save(less), 1e-9)["matches"] == []


def test_promp_s_surrogate_by_autodiff(save):
    """Clip and inner KL against differentiation of the published loss as one function of theta, two
    inner steps."""
    bundle = made("lvc", 2, moved=True)
    tasks, clip, coefficient = 2, 0.2, 0.7

    def data(s: int, name: str, k: int) -> tf.Tensor:
        return tf.constant(bundle[f"step{s}/{name}"][k : k + 1])

    theta = tf.constant(bundle["evaluation_parameters"])
    with tf.GradientTape() as tape:
        tape.watch(theta)
        loss = 0.0
        for k in range(tasks):
            current, divergences = theta[None], []
            for s in range(3):
                new = POLICY.outputs(current, data(s, "observations", k))
                old = (data(s, "mean", k), data(s, "log_std", k))
                weights = data(s, "mask", k) / tf.reduce_sum(data(s, "mask", k))
                ratio = tf.exp(
                    log_prob(POLICY, current, data(s, "observations", k), data(s, "actions", k))
                    - POLICY.distribution(old).log_prob(data(s, "actions", k))
                )
                gain = ratio * data(s, "advantages", k)
                if s == 2:
                    clipped = tf.clip_by_value(ratio, 1 - clip, 1 + clip)
                    gain = tf.minimum(gain, clipped * data(s, "advantages", k))
                    loss -= tf.reduce_sum(weights * gain) / tasks
                    break
                kl = tf.reduce_sum(
                    new[1]
                    - old[1]
                    + (tf.exp(2 * old[1]) + (old[0] - new[0]) ** 2) / (2 * tf.exp(2 * new[1]))
                    - 0.5,
                    axis=-1,
                )
                divergences.append(tf.reduce_sum(weights * kl))
                with tf.GradientTape() as inner:
                    inner.watch(current)
                    ratio = tf.exp(
                        log_prob(POLICY, current, data(s, "observations", k), data(s, "actions", k))
                        - POLICY.distribution(old).log_prob(data(s, "actions", k))
                    )
                    objective = tf.reduce_sum(weights * ratio * data(s, "advantages", k))
                current = current + 0.2 * inner.gradient(objective, current)
            loss += coefficient * tf.reduce_mean(tf.stack(divergences)) / tasks
    bundle |= {
        "gradient": tape.gradient(loss, theta).numpy(),
        "sign": np.array("descent"),
        "clip": np.array(clip),
        "kl_coefficient": np.array(coefficient),
    }
    assert identified(save(bundle), 1e-9)["matches"] == ["lvc"]


def test_entries_that_agree_are_all_named(save):
    """One step an episode: no other step's score to leave out, so lvc, dice and lsf are one
    estimator."""
    bundle = {
        key: value[:, :, :1] if key.startswith("step") else value
        for key, value in published("lvc").items()
    }
    for s in (0, 1):
        bundle[f"step{s}/rewards"] = bundle[f"step{s}/advantages"]
    bundle["gradient"] = -reference_gradients(read_bundle(save(bundle)), [CATALOGUE["lsf"]])["lsf"]
    assert {"lsf", "dice", "lvc"} <= set(identified(save(bundle), 1e-9)["matches"])


def run(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["metarl", "identify", *map(str, arguments)])
    status = 0
    try:
        main()
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_command(save, monkeypatch, capsys):
    good = save(published("lsf"), "good.npz")
    bad = save(published("lsf") | {"gradient": 1.01 * published("lsf")["gradient"]}, "bad.npz")
    status, out, err = run(monkeypatch, capsys, good)
    assert (status, err) == (0, f"{good}: compiling and comparing ...\n")
    assert out.startswith(f"{good}: lsf [float64, tolerance 1e-06]\n  lsf ")
    status, out, err = run(monkeypatch, capsys, good, bad, "--json")
    assert status == 1
    assert err.splitlines()[-1] == f"metarl: no match for {bad}"
    results = json.loads(out)
    assert [result["matches"] for result in results] == [["lsf"], []]
    assert results[1]["differences"]["lsf"] == pytest.approx(0.01)
    assert run(monkeypatch, capsys, good, bad, "--tolerance", "0.02")[0] == 0


def changed(key: str, value) -> dict:
    bundle = published("maml")
    bundle[key] = value
    return bundle


def without(key: str) -> dict:
    bundle = published("maml")
    del bundle[key]
    return bundle


def edited(key: str, index, value) -> dict:
    array = published("maml")[key].copy()
    array[index] = value
    return changed(key, array)


SHAPE = (3, 5, 7)
BAD = {
    "no key 'gradient'": without("gradient"),
    "no key 'step1/actions'": without("step1/actions"),
    "no key 'sign'": without("sign"),
    "unknown key 'step0/maks'; did you mean 'step0/mask'": changed("step0/maks", np.ones(SHAPE)),
    "unknown key 'x{79}; did you mean": changed("x" * 5000, np.ones(SHAPE)),
    "unknown key 'evaluation_paramters'": changed("evaluation_paramters", np.ones(132)),
    r"parameters has shape \[131\]; give \[132\]": changed("parameters", np.ones(131)),
    r"gradient has shape \[1, 132\]": changed("gradient", np.ones((1, 132))),
    r"step0/actions has shape \[3, 5, 6, 2\]; give \[3, 5, 7, any\]": changed(
        "step0/actions", np.ones((3, 5, 6, 2))
    ),
    r"step1/observations has shape \[2, 5, 7, 4\]; give \[3, any, any, 4\]": changed(
        "step1/observations", np.ones((2, 5, 7, 4))
    ),
    r"step0/rewards has shape \[3, 5\]; give \[3, 5, 7\]": changed(
        "step0/rewards", np.ones((3, 5))
    ),
    r"step0/observations has shape \[3, 0, 7, 4\]": changed(
        "step0/observations", np.ones((3, 0, 7, 4))
    ),
    "step0/advantages has a NaN": edited("step0/advantages", (0, 0, 0), np.nan),
    "gradient has only zeros; dump it after": changed("gradient", np.zeros(132)),
    "gradient has a NaN": edited("gradient", 3, np.inf),
    "step1/actions has a NaN or an infinity, or a number above": edited("step1/actions", 0, 1e200),
    "inner_learning_rate is 1e[+]300": changed("inner_learning_rate", np.array(1e300)),
    "step0/rewards is int64; give float32 or float64": changed(
        "step0/rewards", np.ones(SHAPE, int)
    ),
    "gradient is complex128": changed("gradient", np.ones(132, complex)),
    "step0/mask has values other than 0 and 1": edited("step0/mask", (0, 0, 0), 0.5),
    "step0/mask has a 1 after a 0": edited("step0/mask", (0, 0, 2), 0.0),
    "step0/mask has a 1 after a 0; give ones": edited("step0/mask", (0, 0), 0.0),
    "sign is 'up'; give 'ascent' or 'descent'": changed("sign", np.array("up")),
    "sign is float64": changed("sign", np.array(1.0)),
    "averaging is 'mean'; give 'steps' or 'trajectories'": changed("averaging", np.array("mean")),
    r"hidden_sizes are \[8, 0\]": changed("hidden_sizes", np.array([8, 0])),
    "hidden_sizes is float64": changed("hidden_sizes", np.array([8.0, 8.0])),
    "hidden_sizes is int64 of shape": changed("hidden_sizes", np.array(8)),
    "inner_learning_rate is 0.0; give a number > 0": changed("inner_learning_rate", np.array(0.0)),
    "inner_learning_rate is float64 of shape": changed("inner_learning_rate", np.ones(3)),
    "clip is -0.2": changed("clip", np.array(-0.2)),
    "kl_coefficient is nan": changed("kl_coefficient", np.array(np.nan)),
    "step0/mean stands alone": changed("step0/mean", np.ones((*SHAPE, 2))),
    "no key of step2; number the steps": changed("step3/actions", np.ones((*SHAPE, 2))),
    "fewer than two steps": {
        key: value for key, value in published("maml").items() if not key.startswith("step1")
    },
}


@pytest.mark.parametrize("message", BAD)
def test_inconsistent_bundles(message, save):
    path = save(BAD[message])
    with pytest.raises(InputError, match=message) as error:
        read_bundle(path)
    assert str(error.value).startswith(f"{str(path)!r}: ")
    assert "\n" not in str(error.value)


def damaged() -> dict[str, bytes]:
    """Files that are no bundle, by what is said of them."""
    buffer = io.BytesIO()
    np.savez(buffer, **published("maml"))
    whole = buffer.getvalue()
    flipped = bytearray(whole)
    flipped[whole.index(b"step0/advantages.npy") + 400] ^= 0xFF
    objects = io.BytesIO()
    np.savez(objects, **published("maml") | {"gradient": np.array([None] * 132)}, allow_pickle=True)
    array = io.BytesIO()
    np.save(array, np.ones(3))
    foreign = io.BytesIO()
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("notes.txt", "no array")
    return {
        "not a readable .npz (truncated)": whole[: len(whole) // 2],
        "not a readable .npz (empty)": b"",
        "not a readable .npz (text)": b"gradient = 3",
        "not a readable .npz (one array)": array.getvalue(),
        "step0/advantages is damaged": bytes(flipped),
        "gradient is damaged or an object array": objects.getvalue(),
        "fewer than two steps": foreign.getvalue(),
    }


@pytest.mark.parametrize("message", damaged())
def test_damaged_files(message, tmp_path, monkeypatch, capsys):
    path = tmp_path / "bundle.npz"
    path.write_bytes(damaged()[message])
    status, out, err = run(monkeypatch, capsys, path)
    assert (status, out) == (2, "")
    assert re.match(rf"metarl: '{path}': " + re.escape(message.partition(" (")[0]), err)
    assert err.count("\n") == 1


def test_a_bundle_of_many_gigabytes_is_not_unpacked(save, monkeypatch):
    path = save(published("maml"))
    monkeypatch.setattr("metarl.identify.arrays.MOST_BYTES", 1000)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(InputError, match="GB of arrays; give at most"):
        read_bundle(path)


@pytest.mark.parametrize(
    "change",
    [{"inner_learning_rate": np.array(1e99)}, {"parameters": np.full(132, -1e5)}],
)
def test_data_on_which_everything_overflows_is_one_line(change, save, monkeypatch, capsys):
    only(monkeypatch, "maml", "lvc")
    status, out, err = run(monkeypatch, capsys, save(published("maml") | change))
    assert (status, out) == (2, "")
    assert "every estimator overflows on this data" in err.splitlines()[-1]


def test_other_bad_input(tmp_path, save, monkeypatch, capsys):
    good = save(published("maml"))
    for arguments, message in (
        ((tmp_path,), "no such file"),
        ((), "no bundle given"),
        ((good, "--tolerance", "-1"), "--tolerance is -1.0; give a number between 0 and 1"),
        ((good, "--tolerance", "nan"), "--tolerance is nan"),
    ):
        status, out, err = run(monkeypatch, capsys, *arguments)
        assert (status, out) == (2, ""), arguments
        assert message in err
        assert err.count("\n") == 1


def test_a_damaged_bundle_does_not_keep_the_others_back(save, tmp_path, monkeypatch, capsys):
    only(monkeypatch, "maml", "lsf")
    good, absent = save(published("maml")), tmp_path / "absent.npz"
    status, out, err = run(monkeypatch, capsys, absent, good)
    complaint, _ = err.splitlines()
    assert (status, complaint) == (2, f"metarl: '{absent}': no such file; give an .npz bundle")
    assert out.startswith(f"{good}: maml [")
    status, out, err = run(monkeypatch, capsys, absent, good, "--json")
    failed, compared = json.loads(out)
    assert (status, failed["file"], set(failed)) == (2, str(absent), {"file", "error"})
    assert "no such file" in failed["error"]
    assert compared["matches"] == ["maml"]


def test_padding_counted_by_promp_s_dice(save, monkeypatch):
    """Its inner mean and its outer one count steps after the end: a task's share of real steps."""
    only(monkeypatch, "dice", "promp_dice_as_coded")
    bundle = made("dice", 1, moved=False)
    for s in (0, 1):  # advantages that rewards sum to, as that code has them
        rewards = bundle[f"step{s}/rewards"] = bundle[f"step{s}/mask"] * bundle[f"step{s}/rewards"]
        bundle[f"step{s}/advantages"] = np.cumsum(rewards[..., ::-1], axis=-1)[..., ::-1]
        del bundle[f"step{s}/mean"], bundle[f"step{s}/log_std"]
    shared = dict(bundle)
    for s in (0, 1):
        share = bundle[f"step{s}/mask"].mean(axis=(1, 2), keepdims=True)
        for key in ("rewards", "advantages"):
            shared[f"step{s}/{key}"] = share * bundle[f"step{s}/{key}"]
    data = read_bundle(save(shared))
    bundle["gradient"] = reference_gradients(data, [CATALOGUE["dice"]])["dice"]
    result = identified(save(bundle), 1e-9)
    assert result["matches"] == ["promp_dice_as_coded"]
    assert result["differences"]["promp_dice_as_coded"] < 1e-12


def test_the_numpy_example_is_what_it_says(save):
    from metarl.examples.numpy_bundle import bundle

    result = identified(save(bundle()), 1e-10)
    assert result["matches"] == AGREE["maml"]


def test_a_match_has_the_exact_numbers_of_its_own_sample_size(tmp_path):
    """Those of the exact audit's table; N = 64 is too many samples of the chain for a moment."""
    settings = ExactSettings(problem=("chain",), estimators=("maml",), sample_sizes=(4,))
    exact.audit(settings, tmp_path / "maml.parquet")
    (row,) = pd.read_parquet(tmp_path / "maml.parquet").to_dict("records")
    told = exact_numbers("maml", 4)
    relative = row["variance"] / row["gradient_norm"] ** 2
    expected = f"chain relative bias {row['relative_bias']:.2g}, relative variance {relative:.2g}"
    assert told.startswith("maml at N = 4, exactly: bandit relative bias ")
    assert told.endswith(expected)
    assert exact_numbers("maml", 64).endswith(
        "; chain has too many samples, see metarl audit limit"
    )
