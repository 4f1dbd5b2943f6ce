"""Estimators by name: the rows of the catalogue, the published deviations, and anyone's own."""

import inspect
from collections.abc import Callable

import tensorflow as tf

from metarl import plug_ins
from metarl.errors import InputError
from metarl.estimators.algebra import Estimator, InnerStep
from metarl.estimators.as_coded import AS_CODED
from metarl.estimators.catalogue import ROWS
from metarl.estimators.whole import WholeGradient

LETTERS = (
    "W_it score weight of step t of trajectory i; f_i = sum_t A_it g_it, g_it = grad log pi(a|s);",
    "d_it = g_it . v, v = grad V_hat(theta'), V_hat the mean return after adaptation, b a baseline",
    "of it; c = eta / number of samples averaged",
)
"""What formulas of weights are written in, for people."""

CATALOGUE = {entry.name: entry for entry in (*ROWS, *AS_CODED)}


def estimator(name: str) -> Estimator:
    """The catalogue's entry called `name`, or anyone's own, `package.module:function`.

    Raises:
      InputError: there is none.
    """
    if ":" in name:
        return plug_in(name)
    if name not in CATALOGUE:
        raise InputError(f"unknown estimator {name!r}; choose one of {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def compiled_estimator(name: str) -> Estimator:
    """`estimator` for what compiles it into something larger.

    Raises:
      InputError: no such entry, no such plug-in, or one that is a whole gradient.
    """
    entry = estimator(name)
    if entry.gradient is not None:
        raise entry.gradient.not_compiled()
    return entry


def plug_in(name: str) -> Estimator:
    """An estimator from outside, `package.module:function`: score weights or a whole gradient.

    The number of the function's parameters tells which: one for W of an `InnerStep`, four for
    `metarl.estimators.whole.Gradient`.

    Raises:
      InputError: it cannot be imported, or is no such function.
    """
    function = plug_ins.load("estimator", name, "package.module:function")
    if not callable(function):
        raise InputError(f"estimator {name!r} is no function; give package.module:function")
    module = name.partition(":")[0]
    required = required_parameters(function)
    if required == 1:
        return Estimator(name, checked_weights(name, function), "plug-in", module)
    if required == 4:
        gradient = WholeGradient(name, function)
        return Estimator(name, gradient.no_weights, "plug-in", module, gradient=gradient)
    raise InputError(
        f"estimator {name!r} takes {required} arguments; give function(step) -> score weights W, "
        "or gradient(policy, theta, batches, settings) -> [K, P]"
    )


def required_parameters(function: Callable) -> int:
    """How many positional arguments a function asks for; 1 where it does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return sum(p.default is p.empty for p in positional) or min(len(positional), 1)


def checked_weights(name: str, weights: Callable) -> Callable[[InnerStep], tf.Tensor]:
    """The function W of anyone's, whose faults are one line."""

    def checked(step: InnerStep) -> tf.Tensor:
        expected = step.score_products
        try:
            given = tf.convert_to_tensor(weights(step))
        except (Exception, SystemExit) as error:  # code of anyone's may raise anything
            raise InputError(
                f"estimator {name!r} failed ({plug_ins.said(error, weights)}); see "
                "metarl.estimators.InnerStep"
            ) from error
        if given.dtype != expected.dtype or not broadcasts_to(given.shape, expected.shape):
            unknown = given.shape.rank is None  # as tf.numpy_function leaves it
            shape = "of unknown shape" if unknown else given.shape.as_list()
            raise InputError(
                f"estimator {name!r} returns {given.dtype.name} {shape}; give "
                f"{expected.dtype.name} that broadcasts to [K, N, T] = {expected.shape.as_list()}"
            )
        return given

    return checked


def broadcasts_to(shape: tf.TensorShape, target: tf.TensorShape) -> bool:
    """Whether a tensor of `shape` can stand where one of `target` is expected."""
    try:
        return tf.broadcast_static_shape(shape, target) == target
    except ValueError:
        return False


def table() -> str:
    """The catalogue as text: name, W and source of every entry, aligned."""
    rows = [("estimator", "score weight W_it", "source")]
    rows += [(entry.name, entry.formula, entry.source) for entry in CATALOGUE.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{name:<{widths[0]}}  {w:<{widths[1]}}  {who}" for name, w, who in rows]
    return "\n".join([*lines, "", *LETTERS])
