"""`Traces`: a grader that can be one Keras model from a picture to probabilities and severity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fundus.exceptions import ExportError
from fundus.grades.foreign import as_grader, unwrapped
from fundus.grades.grader import Grader, Votes
from fundus.grades.in_keras import looked_up
from fundus.grades.labels import to_positions
from fundus.runtime.tensorflow import require_tensorflow
from fundus.tracing.pipelines import votes_of_pipeline
from fundus.tracing.trace import Trace

if TYPE_CHECKING:
    import keras

#: Names of the outputs, in this order where a model has them.
OUTPUTS = ("probabilities", "severity", "grade")


class Traces:
    """A grader of photographs that can be expressed as operations of Keras."""

    def traced_votes(self, trace: Trace) -> Votes:
        """Predict as ``votes_of`` does, of the picture of a trace.

        A class that predicts in its own ``votes_of`` writes this too; otherwise its models are not
        exported.

        Parameters
        ----------
        trace : Trace

        Returns
        -------
        Votes
            Of tensors: probabilities (batch, n_classes), severity (batch,), index of the class
            (batch,), int32.
        """
        raise NotImplementedError

    def to_keras(self) -> keras.Model:
        """Return the fitted model as one Keras model.

        Preprocessing, the field of view, pooling, scalings, heads, votes and cutpoints are in it;
        of an ensemble, each network runs once. It needs nothing of this library, also after
        ``model.save("grader.keras")`` and ``keras.models.load_model``.

        Returns
        -------
        keras.Model
            Takes uint8 RGB pictures, (batch, size, size, 3), 0–255, that are cropped to the field
            of view and resized: `fundus.images.load_image` makes them of files, and `export_model`
            writes that step as a script. Gives a dict: "probabilities", float32 (batch, n_classes),
            in the order of ``classes_``; "severity", float32 (batch,), in positions on the scale;
            and "grade", int32 (batch,), the position of the predicted grade on the scale. What a
            model does not have is left out.

        Raises
        ------
        ExportError
            If a part has no counterpart among the operations of Keras; the message names it.

        Examples
        --------
        >>> from fundus import TransferClassifier
        >>> X = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
        >>> model = TransferClassifier("tiny", "ridge", weights="fixed", crop=None, cache=False)
        >>> graph = model.fit(X, [0, 1, 2, 3] * 2).to_keras()
        >>> severity = graph.predict_on_batch(X)["severity"]
        >>> bool(np.allclose(severity, model.predict_severity(X), atol=1e-4))
        True
        """
        return trace_model(self)[0]


def trace_model(model: Any) -> tuple[keras.Model, Trace]:
    """Return a fitted model as one Keras model, and how its pictures are made.

    Raises
    ------
    ExportError
        If a part of it has no counterpart among the operations of Keras.
    """
    inner = unwrapped(model)
    check_is_fitted(inner)
    require_tensorflow()
    import keras

    trace = Trace()
    votes = votes_in(inner, trace)
    if trace.picture is None:
        raise ExportError(
            f"{type(inner).__name__} takes features, or whatever it is given, and no photographs: "
            "export a model that has its backbone inside."
        )
    grader: Any = as_grader(inner)
    found: dict[str, Any] = {"probabilities": votes.proba, "severity": votes.severity}
    if votes.best is not None and len(grader.grades_):
        positions = to_positions(grader.classes_, grader.grades_)
        found["grade"] = keras.ops.cast(looked_up(positions, votes.best), "int32")
    outputs = {name: found[name] for name in OUTPUTS if found.get(name) is not None}
    # a layer of its own gives each output its name, in what other programs read too
    named = {
        name: keras.layers.Identity(name=name, dtype=tensor.dtype)(tensor)
        for name, tensor in outputs.items()
    }
    return keras.Model(trace.picture, named, name="grader"), trace


def votes_in(model: Any, trace: Trace, scale: Any = None) -> Votes:
    """Predict with a model that may be of another package, of the picture of a trace.

    Parameters
    ----------
    model : classifier or regressor
        Fitted; also a search, or in a FrozenEstimator.
    trace : Trace
    scale : ndarray, shape (n_grades,), default=None
        The grades in order, for a model that does not know them.

    Raises
    ------
    ExportError
        If it has no counterpart among the operations of Keras.
    """
    inner = unwrapped(model)
    if not isinstance(inner, Grader):
        return votes_of_pipeline(inner, as_grader(inner, scale), trace)
    _check_traced(inner)
    votes = inner.traced_votes(trace)  # type: ignore[attr-defined]
    return votes._replace(cutpoints=_finite(votes.cutpoints))


def _finite(cutpoints: Any) -> Any:
    return None if cutpoints is None else np.asarray(cutpoints, dtype=np.float64)


def _check_traced(model: Any) -> None:
    """Refuse a class whose predictions were changed below what says how they are expressed."""
    order = [*type(model).__mro__]

    def owner(*names: str) -> int:
        return min(k for k, cls in enumerate(order) if any(n in vars(cls) for n in names))

    where = owner("traced_votes") if isinstance(model, Traces) else len(order)
    own = owner("votes_of", "labels_of", "predict", "predict_proba", "predict_severity")
    if where == len(order) or order[where] is Traces or where > own:
        raise ExportError(
            f"{type(model).__name__} cannot be exported: it predicts in its own way, and has no "
            "'traced_votes' that does the same with the operations of Keras. Export the model "
            "inside it, or write that method."
        )
