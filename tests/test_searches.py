"""Fits of a search know their fold and candidate, and one of them tells its plan."""

from __future__ import annotations

import io
import multiprocessing
import re
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from fundus import FoldEnsemble, SoftmaxHead, TransferClassifier, one_search, set_verbosity
from fundus.exceptions import InvalidParameterError
from fundus.runtime import progress, searches
from fundus.runtime.progress import labelled
from fundus.runtime.searches import (
    Called,
    _Fits,
    as_a_fit_of_a_search,
    first_of_its_kind,
    recognised,
)

told_by_searches = pytest.mark.skipif(
    not hasattr(Called, "set_callbacks"), reason="scikit-learn 1.8 tells an estimator nothing"
)

SEEN: list[tuple[str, bool]] = []


class Noted(Called, ClassifierMixin, BaseEstimator):
    """Notes how a bar would be labelled in each fit, and whether a plan would be told."""

    def __init__(self, C=1, verbose=1, fails=False):
        self.C = C
        self.verbose = verbose
        self.fails = fails

    @as_a_fit_of_a_search
    def fit(self, X, y, sample_weight=None, groups=None):
        """Note them."""
        SEEN.append((labelled("Training"), first_of_its_kind(self.fails)))
        if self.fails:
            raise ValueError("fails")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        """Predict the first class."""
        return np.repeat(self.classes_[:1], len(X))


@pytest.fixture(autouse=True)
def _as_at_first():
    SEEN.clear()
    yield
    set_verbosity()


X, Y = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32), np.arange(24) % 2
FOLDS = KFold(3)


def noted(work) -> list[str]:
    SEEN.clear()
    work()
    return [label for label, _ in SEEN]


NINE = [
    f"Candidate {c}, fold {f} ({3 * c + f + 1} of 9): training" for c in range(3) for f in range(3)
]


@told_by_searches
def test_a_search_names_candidates_and_folds_and_tells_one_plan():
    search = GridSearchCV(Noted(), {"C": [1, 2, 3]}, cv=FOLDS)
    assert noted(lambda: search.fit(X, Y)) == [*NINE, "Refit: training"]
    assert [told for _, told in SEEN] == [True] + [False] * 9
    assert noted(lambda: search.fit(X, Y)) == [*NINE, "Refit: training"]
    assert [told for _, told in SEEN] == [True] + [False] * 9, "the next search tells its own"
    assert labelled("Training") == "Training"
    Noted().fit(X, Y)
    assert SEEN[-1] == ("Training", True)


@told_by_searches
def test_another_kind_of_plan_is_told_too_and_a_failed_fit_counts():
    search = GridSearchCV(Noted(), {"fails": [False, True]}, cv=FOLDS, refit=False, error_score=0)
    with pytest.warns(FitFailedWarning, match="3 fits failed"):
        labels = noted(lambda: search.fit(X, Y))
    assert labels[-1] == "Candidate 1, fold 2 (6 of 6): training"
    assert [told for _, told in SEEN] == [True, False, False, True, False, False]
    assert labelled("Training") == "Training"


@told_by_searches
def test_equal_candidates_are_told_apart():
    search = GridSearchCV(Noted(), [{"C": [1]}] * 3, cv=FOLDS, refit=False)
    assert noted(lambda: search.fit(X, Y)) == NINE


@told_by_searches
def test_halving_counts_anew_in_each_round():
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV

    search = HalvingGridSearchCV(
        Noted(), {"C": [1, 2, 3, 4]}, cv=2, factor=2, min_resources=8, refit=False, random_state=0
    )
    rounds = [4, 2]
    assert noted(lambda: search.fit(X, Y)) == [
        f"Candidate {c}, fold {f} ({2 * c + f + 1} of {2 * n}): training"
        for n in rounds for c in range(n) for f in range(2)
    ]  # fmt: skip
    assert [told for _, told in SEEN] == [True] + [False] * (len(SEEN) - 1)


@told_by_searches
def test_in_a_pipeline_only_the_number_is_known():
    pipe = make_pipeline(FunctionTransformer(), Noted())
    search = GridSearchCV(pipe, {"noted__C": [1, 2]}, cv=FOLDS)
    expected = [f"Fit {k + 1} of 6: training" for k in range(6)]
    assert noted(lambda: search.fit(X, Y)) == [*expected, "Refit: training"]
    assert [told for _, told in SEEN] == [True] + [False] * 6


class Forgets(dict):
    """What a process of joblib's knows of a search: each task brings a copy of its own."""

    def setdefault(self, key, default):
        return default


@told_by_searches
def test_a_worker_tells_the_plan_of_the_first_fit_only(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-1")
    monkeypatch.setattr(searches, "_searches", Forgets())
    labels = noted(lambda: GridSearchCV(Noted(), {"C": [1, 2]}, cv=FOLDS).fit(X, Y))
    assert [told for _, told in SEEN] == [True] + [False] * 6
    assert labels[0] == "Candidate 0, fold 0 (1 of 6): training"
    assert labels[1:6] == [f"Fit {k} of 6: training" for k in range(2, 7)]


@told_by_searches
def test_where_nobody_looks_nothing_is_named():
    search = GridSearchCV(Noted(verbose=0), {"C": [1, 2]}, cv=FOLDS)
    assert noted(lambda: search.fit(X, Y)) == ["Training"] * 7


def test_a_cross_validation_in_one_search():
    def work():
        with one_search(folds=3):
            cross_validate(Noted(), X, Y, cv=FOLDS)

    assert noted(work) == [f"Fold {k}: training" for k in range(3)]
    assert [told for _, told in SEEN] == [True, False, False]
    assert noted(work) == [f"Fold {k}: training" for k in range(3)]
    assert [told for _, told in SEEN] == [True, False, False]
    assert noted(lambda: cross_validate(Noted(), X, Y, cv=FOLDS)) == ["Training"] * 3
    assert [told for _, told in SEEN] == [True] * 3


def test_a_loop_in_one_search():
    def work(folds):
        with one_search(folds):
            for _ in range(4):
                Noted().fit(X, Y)

    assert noted(lambda: work(3))[2:] == ["Fold 2: training", "Candidate 1, fold 0: training"]
    assert noted(lambda: work(None))[2:] == ["Fit 3: training", "Fit 4: training"]
    for folds in (0, -1, True, 2.0, "3"):
        with pytest.raises(InvalidParameterError, match="one_search.*positive int"):
            work(folds)


def test_fits_inside_a_fit_are_part_of_it():
    def work():
        with one_search(folds=2):
            for _ in range(2):
                FoldEnsemble(Noted(), cv=FOLDS, voting="hard").fit(X, Y)

    labels = noted(work)
    assert labels == [f"Fold {k}, fold {fold}: training" for k in range(2) for fold in range(3)]
    assert [told for _, told in SEEN] == [True] + [False] * 5


@told_by_searches
def test_a_search_in_one_search_names_itself():
    def work():
        with one_search(folds=2):
            cross_validate(GridSearchCV(Noted(), {"C": [1, 2, 3]}, cv=FOLDS), X, Y, cv=2)

    assert noted(work) == [*NINE, "Refit: training"] * 2


@told_by_searches
def test_scikit_learns_own_callbacks_are_called():
    class Counts:
        max_propagation_depth = None

        def __init__(self):
            self.calls = []

        def setup(self, estimator, context):
            self.calls.append("setup")

        def teardown(self, estimator, context):
            self.calls.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.calls.append(type(estimator).__name__)

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if fitted_estimator is not None:
                assert len(fitted_estimator.predict(X)) == len(X)
                self.calls.append("predicts")

    counts = Counts()
    model = TransferClassifier("precomputed", "logistic")
    search = GridSearchCV(model, {"head__C": [1, 2]}, cv=2).set_callbacks(counts)
    search.fit(X, Y)
    assert counts.calls.count("TransferClassifier") == counts.calls.count("predicts") == 5
    assert (counts.calls[0], counts.calls[-1]) == ("setup", "teardown")
    ensemble, own = FoldEnsemble(model, cv=2, random_state=0), Counts()
    ensemble.set_callbacks(own).fit(X, Y)
    assert own.calls == ["setup", "FoldEnsemble", "predicts", "teardown"]


def places(fits: _Fits, numbers, X_of) -> list[tuple[int, int] | None]:
    return [fits.candidate_and_fold(n, X_of(n), [0]) for n in numbers]


def test_what_was_missed_is_not_guessed():
    def rows(number):
        return np.full((2, 1), number % 3)

    assert places(_Fits(6), range(6), rows) == [divmod(n, 3) for n in range(6)]
    # as a process of several sees them
    assert places(_Fits(6), (0, 2, 4), rows) == [(0, 0), None, None]
    assert places(_Fits(6), (1, 2, 3), rows) == [None, None, None]
    # of threads that begin in another order
    assert places(_Fits(6), (1, 0, 2, 3, 5), rows) == [None, (0, 0), (0, 2), (1, 0), (1, 2)]
    # a first fold that comes again where no second candidate can begin
    assert places(_Fits(5), range(4), rows)[3] is None


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(0).integers(0, 255, (12, 8, 8, 3), dtype=np.uint8),
        np.random.default_rng(0).normal(size=(12, 700)),
        np.array([f"{k}.png" for k in range(12)]),
        np.array([[f"{k}.png"] for k in range(12)], dtype=object),
        [f"{k}.png" for k in range(12)],
        [bytes([k]) for k in range(12)],
        pd.DataFrame({"path": [f"{k}.png" for k in range(12)], "patient": np.arange(12) // 2}),
        pd.Series([f"{k}.png" for k in range(12)]),
    ],
    ids=["pictures", "features", "paths", "column", "list", "bytes", "frame", "series"],
)  # fmt: skip
def test_folds_are_recognised_by_their_rows(rows):
    from sklearn.utils import _safe_indexing

    y = np.zeros(12)  # which tells nothing
    trains = [train for train, _ in KFold(6).split(y)]
    marks = [recognised(_safe_indexing(rows, t), y[t]) for t in (*trains, *trains)]
    assert marks[:6] == marks[6:]
    assert len(set(marks)) == 6
    assert recognised(rows, y) != recognised(rows, y + 1)


class Terminal(io.StringIO):
    """Standard error that a person looks at."""

    def isatty(self):
        return True


@pytest.mark.slow
@told_by_searches
def test_bars_of_a_real_search_end_where_training_stops_and_change_no_bit(monkeypatch, photographs):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "SOON", 0.0)
    net = TransferClassifier(
        "tiny", SoftmaxHead(units=4, layers=1), weights="fixed",
        epochs=12, patience=1, learning_rate=0.3, random_state=0,
    )  # fmt: skip
    folds = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    search = GridSearchCV(
        net, {"head__units": [2, 4]}, cv=folds, scoring="neg_log_loss", refit=False
    )

    def shown(verbose):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        search.set_params(estimator__verbose=verbose).fit(photographs.paths, photographs.grades)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())

    text = shown(0)
    scores = search.cv_results_["mean_test_score"]
    for number, name in enumerate(("0, fold 0", "0, fold 1", "1, fold 0", "1, fold 1")):
        (last,) = re.findall(
            rf"Candidate {name} \({number + 1} of 4\): training [^\r\n]* (\d+)/(\d+) *\n", text
        )
        assert last[0] == last[1]
        assert int(last[0]) < 12, "it stopped early"
    assert "plan" not in text
    text = shown(1)
    assert re.findall("(.*): plan", text) == ["Candidate 0, fold 0 (1 of 4)"]
    assert text.count("frozen part") == 1
    sized = TransferClassifier("tiny", "logistic", weights="fixed", verbose=1, random_state=0)
    sizes = GridSearchCV(sized, {"image_size": [32, 64]}, cv=folds, refit=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    sizes.fit(photographs.paths, photographs.grades)
    told = re.findall("(.*): plan", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()))
    assert told == ["Candidate 0, fold 0 (1 of 4)", "Candidate 1, fold 0 (3 of 4)"]
    set_verbosity("quiet")
    assert shown(0) == ""
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], scores)
