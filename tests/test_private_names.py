"""Names of other libraries that may change without notice: each still does what we rely on.

Each test stands for one name. If it fails after an upgrade, the file that it names is what to mend.
"""

from __future__ import annotations

import ast
import inspect
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fundus"

#: Documented by Python in spite of the underscore.
DOCUMENTED = {"_asdict", "_fields", "_getframe", "_replace"}

#: By name, the files that rely on it and the check.
CHECKS: dict[str, tuple[str, Callable[[], None]]] = {}


def relied_on(name: str, files: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def keep(check: Callable[[], None]) -> Callable[[], None]:
        CHECKS[name] = files, check
        return check

    return keep


def small_model():
    import keras

    inputs = keras.Input((3,))
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="deep")], name="inner")
    return keras.Model(inputs, keras.layers.Dense(1, name="last")(inner(inputs)))


@relied_on("_at_fork_reinit", "runtime/threads.py")
def _():
    for lock in (threading.Lock(), threading.RLock()):
        lock.acquire()
        lock._at_fork_reinit()
        assert lock.acquire(blocking=False)


@relied_on("_path", "plugins/discovery.py")
def _():
    folders = {str(getattr(found, "_path", "")) for found in metadata.distributions()}
    assert any(Path(folder).exists() for folder in folders if folder)


def _raise_data_error():
    from fundus.exceptions import DataError

    raise DataError("no")


@relied_on("_RemoteTraceback", "runtime/threads.py")
def _():
    from joblib import Parallel, delayed

    from fundus.exceptions import DataError

    with pytest.raises(DataError) as caught:
        Parallel(n_jobs=2)(delayed(_raise_data_error)() for _ in range(2))
    assert type(caught.value.__cause__).__name__ == "_RemoteTraceback"


@relied_on("_initialized", "runtime/forks.py")
def _():
    code = (
        "import tensorflow as tf; from fundus.runtime.forks import _tensorflow_runs as runs\n"
        "print(runs()); tf.constant(1); print(runs())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]


@relied_on("tensorflow.python.eager.context", "training/trainer.py, runtime/forks.py")
def _():
    import tensorflow as tf
    from tensorflow.python.eager import context

    assert context.context_safe() is None or context.context_safe() is context.context()
    before = context.global_seed()
    try:
        tf.random.set_seed(3)
        assert context.global_seed() == 3
        tf.random.set_seed(None)
        assert context.global_seed() is None
    finally:
        tf.random.set_seed(before)


@relied_on("tensorflow.python.framework.config", "training/trainer.py")
def _():
    from tensorflow.python.framework import config

    before = config.is_op_determinism_enabled()
    config.enable_op_determinism()
    try:
        assert config.is_op_determinism_enabled()
        config.disable_op_determinism()
        assert not config.is_op_determinism_enabled()
    finally:
        (config.enable_op_determinism if before else config.disable_op_determinism)()


@relied_on("keras.src.random.seed_generator", "runtime/seeds.py")
def _():
    import keras
    from keras.src.random import seed_generator

    assert seed_generator.python_random is random
    seed_generator.python_random = random.Random(7)
    try:
        drawn = keras.initializers.RandomNormal().seed, keras.random.SeedGenerator().get_config()
        state = int(np.asarray(keras.random.SeedGenerator().state)[0])
    finally:
        seed_generator.python_random = random
    again = random.Random(7)
    assert drawn[0] == again.randint(1, int(1e9))
    again.randint(1, int(1e9))
    assert state == again.randint(1, int(1e9))


@relied_on("keras.src.backend.common.global_state", "runtime/seeds.py")
def _():
    import keras
    from keras.src.backend.common import global_state
    from keras.src.random import seed_generator

    name = seed_generator.GLOBAL_SEED_GENERATOR
    before = global_state.get_global_attribute(name)
    try:
        mine = keras.random.SeedGenerator(5)
        global_state.set_global_attribute(name, mine)
        keras.random.normal((2,))  # draws from the one that is set
        assert np.asarray(mine.state).tolist() != [5, 0]
    finally:
        global_state.set_global_attribute(name, before)


@relied_on("_flatten_layers", "runtime/given_model.py")
def _():
    assert {"inner", "deep", "last"} <= {layer.name for layer in small_model()._flatten_layers()}


@relied_on("_nodes_by_depth", "backbones/splitting.py")
def _():
    from fundus.backbones.splitting import graph_nodes

    model = small_model()
    assert [node.operation.name for node in graph_nodes(model)] == ["inner", "last"]
    depths = sorted(model._nodes_by_depth, reverse=True)
    assert [node.is_input for depth in depths for node in model._nodes_by_depth[depth]] == [
        True,
        False,
        False,
    ]


@relied_on("_keras_history", "backbones/splitting.py")
def _():
    assert small_model().outputs[0]._keras_history.operation.name == "last"


@relied_on("_functional", "backbones/stages.py")
def _():
    import keras

    inner = small_model().get_layer("inner")
    assert isinstance(inner._functional, keras.Model)
    assert type(inner._functional).call is type(small_model()).call


def _adam_steps(optimizer):
    import keras

    variables = [keras.Variable(np.ones(3, np.float32)), keras.Variable(np.zeros(2, np.float32))]
    optimizer.build(variables)
    for step in range(3):
        grads = [keras.ops.full((3,), step - 0.5), keras.ops.full((2,), 0.25)]
        optimizer.apply(grads, variables)
    return optimizer, variables


@relied_on("_momentums", "training/adam.py")
def _():
    import keras

    optimizer, variables = _adam_steps(keras.optimizers.Adam(0.1, beta_1=0.5))
    # after steps of 0.25: 0.25 · (1 - 0.5³)
    assert np.asarray(optimizer._momentums[1]) == pytest.approx(np.full(2, 0.25 * 0.875))
    assert len(optimizer._momentums) == len(variables)


@relied_on("_velocities", "training/adam.py")
def _():
    import keras

    optimizer, _ = _adam_steps(keras.optimizers.Adam(0.1, beta_2=0.5))
    assert np.asarray(optimizer._velocities[1]) == pytest.approx(np.full(2, 0.0625 * 0.875))


@relied_on("_get_variable_index", "training/adam.py, training/gentle.py")
def _():
    import keras

    optimizer, variables = _adam_steps(keras.optimizers.Adam())
    assert [optimizer._get_variable_index(variable) for variable in variables] == [0, 1]


@relied_on("_flatten_layers", "training/gentle.py")
def _():
    model = small_model()
    names = [layer.name for layer in model._flatten_layers(include_self=False)]
    assert {"inner", "deep", "last"} <= set(names)


@relied_on("update_step", "training/adam.py, training/gentle.py")
def _():
    import keras

    from fundus.training.adam import FusedAdam

    assert [*inspect.signature(keras.optimizers.Adam.update_step).parameters] == [
        *inspect.signature(FusedAdam.update_step).parameters
    ]
    fused, ours = _adam_steps(FusedAdam(0.1))
    plain, theirs = _adam_steps(keras.optimizers.Adam(0.1))
    for a, b in zip([*ours, *fused.variables], [*theirs, *plain.variables], strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4)


@relied_on("_fit_keras_model", "training/trainer.py")
def _():
    from scikeras.wrappers import BaseWrapper

    names = ["self", "X", "y", "sample_weight", "warm_start", "epochs", "initial_epoch", "kwargs"]
    assert [*inspect.signature(BaseWrapper._fit_keras_model).parameters] == names
    assert "self._fit_keras_model(" in inspect.getsource(BaseWrapper._fit)


@relied_on("_predict_raw", "training/trainer.py")
def _():
    from scikeras.wrappers import BaseWrapper

    assert [*inspect.signature(BaseWrapper._predict_raw).parameters] == ["self", "X", "kwargs"]


@relied_on("_fit_callbacks", "training/trainer.py, which leaves it and its like out of pickles")
def _():
    from scikeras.wrappers import BaseWrapper

    source = inspect.getsource(BaseWrapper._initialize_callbacks)
    assert "_fit_callbacks" in source
    assert "_predict_callbacks" in source


@relied_on("sklearn.metrics._scorer._Scorer", "metrics/kappa.py")
def _():
    from sklearn.metrics import make_scorer
    from sklearn.metrics._scorer import _Scorer

    from fundus import make_kappa_scorer

    assert type(make_scorer(max)) is _Scorer
    names = ["self", "method_caller", "estimator", "X", "y_true", "kwargs"]
    assert [*inspect.signature(_Scorer._score).parameters] == names
    assert isinstance(make_kappa_scorer(5), _Scorer)


@relied_on("_kwargs", "metrics/kappa.py")
def _():
    from sklearn.metrics import fbeta_score, make_scorer

    assert make_scorer(fbeta_score, beta=2)._kwargs == {"beta": 2}


@relied_on("cvargs", "saving/splitters.py")
def _():
    from sklearn.model_selection import RepeatedStratifiedKFold

    assert RepeatedStratifiedKFold(n_splits=3).cvargs == {"n_splits": 3}


@relied_on("_get_param_names", "saving/")
def _():
    from sklearn.linear_model import Ridge

    assert set(Ridge._get_param_names()) == set(Ridge().get_params(deep=False))


@relied_on("_init_callback_context", "runtime/searches.py")
def _():
    from sklearn.base import BaseEstimator

    from fundus.runtime.searches import Called

    class Estimator(Called, BaseEstimator):
        pass

    if hasattr(Called, "set_callbacks"):  # since scikit-learn 1.9, whose guide tells of it
        context = Estimator()._init_callback_context()
        assert (context.parent, context.source_task_name) == (None, None)
        assert context.call_on_fit_task_begin(estimator=Estimator(), X=None, y=None) is context
        assert context.call_on_fit_task_end(estimator=Estimator(), X=None, y=None) is False


@relied_on("sklearn.utils._safe_indexing", "meta/")
def _():
    import pandas as pd
    from sklearn.utils import _safe_indexing

    frame = pd.DataFrame({"path": ["a", "b", "c"]}, index=[5, 6, 7])
    assert _safe_indexing(frame, np.array([2, 0]))["path"].tolist() == ["c", "a"]
    assert _safe_indexing(["a", "b", "c"], np.array([2, 0])) == ["c", "a"]
    assert _safe_indexing(np.arange(3), np.array([2, 0])).tolist() == [2, 0]


@relied_on("sklearn.utils.validation._check_sample_weight", "heads/, meta/ and transfer/")
def _():
    from sklearn.utils.validation import _check_sample_weight

    given = _check_sample_weight([1, 2], np.zeros((2, 1)), dtype=np.float64)
    assert given.dtype == np.float64
    with pytest.raises(ValueError, match="sample_weight.shape"):
        _check_sample_weight([1, 2, 3], np.zeros((2, 1)))
    with pytest.raises(ValueError, match="Negative values"):
        _check_sample_weight([1, -1], np.zeros((2, 1)), ensure_non_negative=True)


@relied_on("sklearn.utils.validation._num_samples", "meta/ and model_selection/")
def _():
    from scipy.sparse import csr_array
    from sklearn.utils.validation import _num_samples

    assert [_num_samples(x) for x in (["a"], np.zeros((2, 3)), csr_array((4, 1)))] == [1, 2, 4]


def small_machine():
    from sklearn.svm import SVC

    X = np.array([[0.0, 0], [0, 1], [1, 0], [4, 4], [4, 5], [5, 4], [9, 0], [9, 1], [8, 0]])
    return SVC().fit(X, [0, 0, 0, 1, 1, 1, 2, 2, 2])


@relied_on("_dual_coef_", "saving/trial.py")
def _():
    machine = small_machine()
    assert machine._dual_coef_.shape == (2, len(machine.support_vectors_))


@relied_on("_intercept_", "saving/trial.py")
def _():
    assert small_machine()._intercept_.shape == (3,)  # pairs of classes


@relied_on("_probA", "saving/trial.py")
def _():
    assert np.size(small_machine()._probA) == 0  # without probability=True


@relied_on("_probB", "saving/trial.py")
def _():
    assert np.size(small_machine()._probB) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_private_name_does_what_we_rely_on(name):
    files, check = CHECKS[name]
    changed = None
    try:
        check()
    except Exception as error:
        changed = repr(error)
    assert changed is None, f"{name}, which fundus/{files} relies on, has changed: {changed}"


def private_names(package: Path) -> set[str]:
    """Private names of others that the code imports or reads, by a look at every file."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    ours, found = set(), set()
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            ours.add(node.name)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            ours.add(node.id if isinstance(node, ast.Name) else node.attr)
    for node in nodes:
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            found.update(arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant))
    found = {name for name in found - ours if re.match("_[a-zA-Z]", name)}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        hidden = re.compile(r"\._[a-zA-Z]|^keras\.src\.|^tensorflow\.python\.")
        found.update(name for name in names if hidden.search(name))
    return {name for name in found if not name.startswith(("fundus.", "__"))} - DOCUMENTED


@pytest.mark.slow
def test_no_private_name_is_used_without_a_test():
    assert private_names(PACKAGE) - set(CHECKS) == set()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from sklearn.utils._set_output import wrap", "sklearn.utils._set_output.wrap"),
        ("def f():\n    import keras.src.saving", "keras.src.saving"),
        ("def f(x):\n    return x._inner", "_inner"),
        ("def f(x):\n    return getattr(x, '_inner', 1)", "_inner"),
    ],
)
def test_a_private_name_is_found(tmp_path, line, name):
    (tmp_path / "one.py").write_text(f"{line}\nclass A:\n    _mine = 1\n    x = A._mine\n")
    assert private_names(tmp_path) == {name}


def test_every_file_that_is_named_is_there():
    for files, _ in CHECKS.values():
        for name in re.findall(r"\w+/(?:\w+\.py)?", files):
            assert (PACKAGE / name).exists(), name
