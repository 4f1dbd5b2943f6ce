"""Estimators by name: the rows of the catalogue, the published deviations, and anyone's own."""

import tensorflow as tf

from metarl import plug_ins
from metarl.errors import InputError, shortened
from metarl.estimators.algebra import Estimator, InnerStep
from metarl.estimators.as_coded import AS_CODED
from metarl.estimators.catalogue import ROWS

CATALOGUE = {entry.name: entry for entry in (*ROWS, *AS_CODED)}


def estimator(name: str) -> Estimator:
    """The catalogue's entry called `name`, or anyone's own weights, `package.module:function`.

    Raises:
      InputError: there is none.
    """
    if ":" in name:
        return plug_in(name)
    if name not in CATALOGUE:
        raise InputError(f"unknown estimator {name!r}; choose one of {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def plug_in(name: str) -> Estimator:
    """An estimator from outside: `name` is `package.module:function`, W of an `InnerStep`.

    Raises:
      InputError: it cannot be imported, or is no function.
    """
    weights = plug_ins.load("estimator", name, "package.module:function")
    if not callable(weights):
        raise InputError(f"estimator {name!r} is no function; give package.module:function")

    def checked(step: InnerStep) -> tf.Tensor:
        expected = step.score_products
        try:
            given = tf.convert_to_tensor(weights(step))
        except (Exception, SystemExit) as error:  # code of anyone's may raise anything
            said = shortened(f"{type(error).__name__}: {error}")
            raise InputError(
                f"estimator {name!r} failed ({said}); see metarl.estimators.InnerStep"
            ) from error
        if given.dtype != expected.dtype or not broadcasts_to(given.shape, expected.shape):
            raise InputError(
                f"estimator {name!r} returns {given.dtype.name} {given.shape.as_list()}; give "
                f"{expected.dtype.name} that broadcasts to [K, N, T] = {expected.shape.as_list()}"
            )
        return given

    return Estimator(name, checked, "plug-in", name.partition(":")[0])


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
    return "\n".join(f"{name:<{widths[0]}}  {w:<{widths[1]}}  {who}" for name, w, who in rows)
