"""The algebra against automatic differentiation of the published surrogates.

Step by step and trajectory by trajectory.
"""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from metarl.errors import InputError
from metarl.estimators import CATALOGUE, estimator, meta_gradient
from metarl.estimators.algebra import log_likelihood
from metarl.estimators.catalogue import LOADED_DICE_DECAY
from metarl.outer_values import Sampled
from metarl.policies import GaussianMLPPolicy, log_prob
from metarl.settings import InnerSettings
from metarl.trajectories import Trajectories

STOP = tf.stop_gradient
POLICY = GaussianMLPPolicy(3, 2, (4,))
TASKS, ROWS, HORIZON = 2, 3, 4


def random_batch(seed: int, rewards_to_go: bool = True) -> Trajectories:
    """[K, N, T] = [2, 3, 4] in float64, of unequal length; advantages are rewards-to-go, or any."""
    generator = np.random.default_rng(seed)
    shape = (TASKS, ROWS, HORIZON)
    lengths = generator.integers(1, HORIZON + 1, (TASKS, ROWS, 1))
    mask = (np.arange(HORIZON) < lengths).astype(float)
    rewards = mask * generator.normal(size=shape)
    advantages = np.cumsum(rewards[..., ::-1], axis=-1)[..., ::-1]
    if not rewards_to_go:
        advantages = mask * generator.normal(size=shape)
    tensors = [
        generator.normal(size=(*shape, 3)),
        generator.normal(size=(*shape, 2)),
        advantages,
        rewards,
        mask * generator.normal(size=shape),
        mask,
    ]
    behaviour = (generator.normal(size=(*shape, 2)), 0.1 * generator.normal(size=(*shape, 2)))
    return Trajectories(
        *(tf.constant(x, tf.float64) for x in tensors),
        behaviour=tuple(tf.constant(x, tf.float64) for x in behaviour),
        weights=tf.fill([TASKS, ROWS], tf.constant(1.0 / ROWS, tf.float64)),
        sample_size=tf.constant(float(ROWS), tf.float64),
    )


@pytest.fixture
def parameters() -> tf.Tensor:
    """[K, P], a copy of its own for every task."""
    generator = np.random.default_rng(7)
    return tf.constant(0.5 * generator.normal(size=(TASKS, POLICY.parameter_size)), tf.float64)


def loop_average(batch, averaging, terms):
    """The average of per-step terms [K, N, T] by definition, a trajectory at a time: [K]."""
    tasks = []
    for k in range(batch.mask.shape[0]):
        lengths = tf.reduce_sum(batch.mask[k], axis=-1)
        sums = [tf.reduce_sum(terms[k, i] * batch.mask[k, i]) for i in range(batch.mask.shape[1])]
        divisor = tf.reduce_sum(lengths) if averaging == "steps" else len(sums)
        tasks.append(tf.add_n(sums) / divisor)
    return tf.stack(tasks)


def box(x):
    """The magic box of DiCE: 1, with the gradient of x."""
    return tf.exp(x - STOP(x))


def inner_objective(name, batch, parameters, averaging):
    """The published inner objective, whose gradient is the inner step: [K]."""
    log_probs = log_prob(POLICY, parameters, batch.observations, batch.actions)
    if name == "maml":
        terms = batch.advantages * log_probs
    elif name == "lvc":
        behaviour = POLICY.distribution(batch.behaviour).log_prob(batch.actions)
        terms = batch.advantages * tf.exp(log_probs - behaviour)
    elif name == "dice":
        sums = tf.cumsum(batch.mask * log_probs, axis=-1)
        terms = batch.rewards * box(sums)
    elif name == "loaded_dice":
        inclusive, decayed = [], tf.zeros_like(log_probs[..., 0])
        for t in range(HORIZON):
            decayed = LOADED_DICE_DECAY * decayed + log_probs[..., t]
            inclusive.append(decayed)
        inclusive = tf.stack(inclusive, axis=-1)
        terms = batch.advantages * (box(inclusive) - box(inclusive - log_probs))
    elif name == "tmaml":
        sums = tf.cumsum(batch.mask * log_probs, axis=-1)
        to_go = tf.cumsum(batch.mask * batch.rewards, axis=-1, reverse=True)
        baseline = to_go - batch.advantages
        control = (1.0 - box(sums - batch.mask * log_probs)) * (1.0 - box(log_probs))
        terms = batch.rewards * box(sums) - control * baseline
    elif name == "learn2learn_dice_as_coded":
        decayed, terms = tf.zeros_like(log_probs[..., 0]), []
        for t in range(HORIZON):
            decayed = decayed / ROWS + log_probs[..., t]
            terms.append(batch.advantages[..., t] * box(decayed))
        terms = tf.stack(terms, axis=-1)
    elif name == "promp_dice_as_coded":
        terms = batch.rewards * box(tf.cumsum(log_probs, axis=-1)) * batch.mask
        share = tf.reduce_mean(batch.mask, axis=[1, 2], keepdims=True)
        terms = share * terms  # then the mean over real steps is the mean over all N T
    elif name == "pytorch_maml_rl_as_coded":
        lengths = tf.reduce_sum(batch.mask, axis=-1, keepdims=True)
        terms = (
            tf.reduce_mean(lengths, axis=1, keepdims=True) * batch.advantages * log_probs / lengths
        )
    return loop_average(batch, averaging, terms)


def inner_step_direction(name, batch, parameters, averaging):
    """What the inner step adds, a function of theta whose Jacobian makes the estimator: [K, P]."""
    if name != "lsf":
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            objective = tf.reduce_sum(inner_objective(name, batch, parameters, averaging))
        return tape.gradient(objective, parameters)
    # sum_i box(theta) f_i(theta), where box is 1 and its gradient is the trajectory's score s_i.
    direction = tf.zeros_like(parameters)
    for i in range(batch.mask.shape[1]):
        only = tf.one_hot(i, batch.mask.shape[1], dtype=tf.float64)[:, None]
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_probs = log_prob(POLICY, parameters, batch.observations, batch.actions)
            terms = only * batch.advantages * log_probs
            objective = tf.reduce_sum(loop_average(batch, averaging, terms))
        total = tf.reduce_sum(only * batch.mask * log_probs, axis=[1, 2])
        direction += box(total)[:, None] * tape.gradient(objective, parameters)
    return direction


def differentiated_through(name, parameters, batches, settings):
    """The meta-gradient by automatic differentiation through all inner updates: [K, P]."""
    *inner, outer = batches
    loss = INNER_LOSS.get(name, name)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        current = parameters
        for batch in inner:
            direction = inner_step_direction(loss, batch, current, settings.averaging)
            current = current + settings.learning_rate * direction
        log_probs = log_prob(POLICY, current, outer.observations, outer.actions)
        behaviour = POLICY.distribution(outer.behaviour).log_prob(outer.actions)
        terms = tf.exp(log_probs - behaviour) * outer.advantages
        if name == "promp_dice_as_coded":
            terms *= tf.reduce_mean(outer.mask, axis=[1, 2], keepdims=True)
        elif name == "pytorch_maml_rl_as_coded":
            lengths = tf.reduce_sum(outer.mask, axis=-1, keepdims=True)
            terms *= tf.reduce_mean(lengths, axis=1, keepdims=True) / lengths
        objective = tf.reduce_sum(loop_average(outer, settings.averaging, terms))
        if name in INNER_LOSS:
            first = inner[0]
            scores = log_prob(POLICY, parameters, first.observations, first.actions)
            if name.startswith("sgmrl"):
                means = loop_average(outer, "steps", outer.advantages)
                scores = tf.reduce_sum(first.mask * scores, axis=[1, 2])
            else:
                means = loop_average(outer, "steps", outer.score_rewards)
                scores = loop_average(first, "steps", scores)
                scores *= ROWS if name.startswith("emaml_sum") else 1
            objective += tf.reduce_sum(STOP(means) * scores)
    return tape.gradient(objective, parameters)


# Those with a term of the first inner step's log pi beside the inner loss of another.
INNER_LOSS = {
    "emaml": "maml",
    "emaml_sum_as_coded": "maml",
    "sgmrl_as_coded": "maml",
    "emaml_likelihood_ratio_as_coded": "lvc",
}
SURROGATES = (
    *("maml", "lvc", "dice", "loaded_dice", "tmaml", "lsf", "learn2learn_dice_as_coded"),
    *("promp_dice_as_coded", "pytorch_maml_rl_as_coded", *INNER_LOSS),
)


def estimate(name, parameters, batches, settings):
    return meta_gradient(
        POLICY,
        CATALOGUE[name],
        parameters,
        batches[:-1],
        settings,
        partial(Sampled, POLICY, batches[-1], settings.averaging, None),
    )


@pytest.mark.parametrize("averaging", ["steps", "trajectories"])
@pytest.mark.parametrize("inner_steps", [1, 2, 3])
@pytest.mark.parametrize("name", SURROGATES)
def test_published_surrogate(name, inner_steps, averaging, parameters):
    """Off policy, with unequal lengths: behaviour differs from the parameters everywhere."""
    if averaging == "trajectories" and name.startswith(("promp", "pytorch")):
        pytest.skip("codes whose own mean over steps is what they deviate in")
    settings = InnerSettings(0.3, averaging)
    batches = [random_batch(seed, rewards_to_go=False) for seed in range(inner_steps + 1)]
    expected = differentiated_through(name, parameters, batches, settings)
    result = estimate(name, parameters, batches, settings)
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CATALOGUE)
def test_compiled_equals_eager(name, parameters):
    settings = InnerSettings(0.3, "steps")
    batches = [random_batch(0), random_batch(1)]
    compiled = tf.function(lambda at: estimate(name, at, batches, settings), jit_compile=True)
    eager = estimate(name, parameters, batches, settings)
    np.testing.assert_allclose(compiled(parameters), eager, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CATALOGUE)
def test_tasks_do_not_mix(name, parameters):
    """A task's estimate is the same alone as in a batch."""
    if name == "unbiased_baseline":
        pytest.skip("its baseline is the other tasks' value, by definition")
    settings = InnerSettings(0.3, "steps")
    batches = [random_batch(0), random_batch(1)]
    together = estimate(name, parameters, batches, settings)

    def only_first(batch):
        first = tf.nest.map_structure(lambda x: x[:1] if x.shape.rank else x, batch)
        return type(batch)(*first)

    alone = estimate(name, parameters[:1], [only_first(batch) for batch in batches], settings)
    np.testing.assert_allclose(together[:1], alone, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CATALOGUE)
def test_weights_stand_for_repeated_trajectories(name, parameters):
    """One row of weight 2/4 is two equal rows of weight 1/4: what the exact audit rests on."""
    settings = InnerSettings(0.3, "steps")
    before, after = random_batch(0), random_batch(1)

    def rows(batch, chosen, weights):
        picked = [tf.gather(x, chosen, axis=1) for x in batch[:6]]
        behaviour = tuple(tf.gather(x, chosen, axis=1) for x in batch.behaviour)
        weights = tf.constant([weights, weights], tf.float64)
        return type(batch)(*picked, behaviour, weights, tf.constant(4.0, tf.float64))

    repeated = rows(before, [0, 0, 1, 2], [0.25] * 4)
    weighted = rows(before, [0, 1, 2], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(
        estimate(name, parameters, [repeated, after], settings),
        estimate(name, parameters, [weighted, after], settings),
        rtol=1e-9,
        atol=1e-11,
    )


@pytest.mark.parametrize("name", CATALOGUE)
def test_masked_steps_do_not_matter(name, parameters):
    settings = InnerSettings(0.3, "steps")
    batches = [random_batch(0), random_batch(1)]
    assert float(tf.reduce_sum(1.0 - batches[0].mask)) > 0

    def disturbed(batch):
        """Rubbish in every field after each episode's end."""
        noise = 3.0 * (1.0 - batch.mask)
        per_step = {
            name: getattr(batch, name) + noise
            for name in ("advantages", "rewards", "score_rewards")
        }
        vectors = {
            name: getattr(batch, name) + noise[..., None] for name in ("observations", "actions")
        }
        return batch._replace(**per_step, **vectors)

    clean = estimate(name, parameters, batches, settings)
    result = estimate(name, parameters, [disturbed(batch) for batch in batches], settings)
    np.testing.assert_allclose(result, clean, rtol=1e-9, atol=1e-11)


def test_unknown_estimator_is_named():
    with pytest.raises(InputError, match="'lfs'; choose one of fomaml, maml"):
        estimator("lfs")


PLUG_IN = """
import tensorflow as tf

def lvc(step):
    return step.constant * step.batch.advantages * step.score_products

def two_arguments(step, more):
    return step.score_products

def wrong_shape(step):
    return tf.zeros([5], step.score_products.dtype)

def wrong_dtype(step):
    return tf.cast(step.score_products, tf.float16)

def typo(step):
    return step.score_prodcts

def leaves(step):
    raise SystemExit(0)

number = 3
"""


@pytest.fixture
def plug_ins(tmp_path, monkeypatch):
    (tmp_path / "my_estimators.py").write_text(PLUG_IN)
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)


def test_a_plug_in_is_an_estimator_like_the_rest(plug_ins, parameters):
    settings = InnerSettings(0.3, "steps")
    batches = [random_batch(0), random_batch(1)]
    outer = partial(Sampled, POLICY, batches[1], "steps", None)
    entry = estimator("my_estimators:lvc")
    result = meta_gradient(POLICY, entry, parameters, batches[:1], settings, outer)
    twin = CATALOGUE["lvc"]._replace(inner_loss=log_likelihood)
    expected = meta_gradient(POLICY, twin, parameters, batches[:1], settings, outer)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_estimators:two_arguments", "takes 2 arguments; give function"),
        ("my_estimators:typo", r"failed \(AttributeError: .*has no attribute 'score_prodcts'"),
        ("my_estimators:leaves", r"failed \(SystemExit: 0, .*my_estimators.py:20\)"),
        ("leaving:lvc", r"cannot import estimator 'leaving:lvc' \(SystemExit: 3\)"),
        ("my_estimators:wrong_shape", r"returns float64 \[5\]; give float64 that broadcasts"),
        ("my_estimators:wrong_dtype", "returns float16"),
        ("my_estimators:number", "is no function"),
        ("my_estimators:absent", "cannot import"),
        ("absent_module:lvc", "cannot import"),
        (":", "cannot import"),
    ],
)
def test_a_bad_plug_in_is_named(plug_ins, parameters, name, message):
    with pytest.raises(InputError, match=message):
        meta_gradient(
            POLICY,
            estimator(name),
            parameters,
            [random_batch(0)],
            InnerSettings(0.3, "steps"),
            partial(Sampled, POLICY, random_batch(1), "steps", None),
        )
