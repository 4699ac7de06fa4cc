"""Scores of changed photographs: exact, out of fold, kept, and refused where there are none."""

from __future__ import annotations

import hashlib
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.pipeline import make_pipeline

import fundus
from fundus import FeatureExtractor, FoldEnsemble, RidgeHead, TransferClassifier, degradations
from fundus.exceptions import DataError, ImageReadError, InvalidGradeError, InvalidParameterError
from fundus.frozen.views import changed
from fundus.frozen.work import work_done
from fundus.images import ImageRecipe, load_image
from fundus.reporting.bootstrap import Measure
from fundus.reporting.stress import FEW_KINDS
from fundus.reporting.stress_scores import Predicted, score_stress

ONCE = {"n_resamples": 20}
QUICK = {"n_resamples": 60, "strengths": [2, 3], "kinds": ["tone", "shift"]}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def tiny(cache, head=None, **options):
    head = RidgeHead(alpha=0.01) if head is None else head
    return TransferClassifier("tiny", head, weights="fixed", cache=cache, **options)


@pytest.fixture(scope="module")
def model(photographs, cache):
    return tiny(cache, grades=5).fit(photographs.paths[:24], photographs.grades[:24])


@pytest.fixture(scope="module")
def ensemble(photographs, cache):
    model = FoldEnsemble(tiny(cache, grades=5), cv=2, random_state=0)
    return model.fit(photographs.frame, photographs.grades)


@pytest.fixture(scope="module")
def found(model, photographs):
    return fundus.stress_report(model, photographs.frame[24:], photographs.grades[24:], **QUICK)


def by_hand(n=60, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 5, n)
    severity = true + rng.normal(0, 0.6, n)
    worse = severity + rng.normal(0.3, 0.8, n)
    return true, *(Predicted(np.clip(np.rint(s), 0, 4).astype(int), s) for s in (severity, worse))


def scored(true, unchanged, every, **options):
    settings = {"n_grades": 5, "referable": 2, "groups": None, "n_resamples": 300}
    settings |= {"random_state": 0, "out_of_fold": False}
    return score_stress(true, unchanged, every, **(settings | options))


def test_the_scores_are_those_of_scikit_learn_and_of_numpy():
    true, good, worse = by_hand()
    report = scored(true, good, {("blur", 2): worse, ("tone", 2): good})
    blur = report["blur", 2].measures
    kappas = [cohen_kappa_score(true, p.grades, weights="quadratic") for p in (good, worse)]
    assert report.unchanged.qwk.value == pytest.approx(kappas[0])
    assert blur["qwk"].value == pytest.approx(kappas[1])
    assert blur["qwk_change"].value == pytest.approx(kappas[1] - kappas[0])
    assert blur["sensitivity"].value == pytest.approx((worse.grades >= 2)[true >= 2].mean())
    assert blur["specificity"].value == pytest.approx((worse.grades < 2)[true < 2].mean())
    moved = worse.severity - good.severity
    assert blur["severity_change"].value == pytest.approx(moved.mean())
    assert blur["severity_change_rms"].value == pytest.approx(np.sqrt((moved**2).mean()))
    assert blur["grades_changed"].value == pytest.approx((worse.grades != good.grades).mean())
    assert report.means[2].qwk.value == pytest.approx(np.mean(kappas))
    with pytest.raises(KeyError):
        report["blur", 3]


def test_all_kinds_share_their_resamples_so_that_the_change_is_paired():
    true, good, worse = by_hand()
    report = scored(true, good, {("blur", 1): worse, ("tone", 1): good})
    same = report["tone", 1].measures
    assert same["qwk"] == report.unchanged.qwk
    assert same["qwk_change"].value == 0
    paired = fundus.paired_difference("qwk", true, worse.grades, good.grades, random_state=0)
    ends, other = report["blur", 1].measures["qwk_change"].interval, paired.difference.interval
    assert (ends.low, ends.high) == pytest.approx((other.low, other.high), abs=0.05)
    own = report["blur", 1].qwk.interval
    unpaired = np.hypot(
        own.high - own.low, np.ptp([*vars(report.unchanged.qwk.interval).values()][:2])
    )
    assert ends.high - ends.low < unpaired
    # other kinds beside it change nothing
    alone = scored(true, good, {("blur", 1): worse})
    assert alone["blur", 1].to_dict() == report["blur", 1].to_dict()


def test_patients_are_resampled_whole():
    true, good, worse = by_hand(120)
    rows = np.repeat(np.arange(60), 2)
    twice = [Predicted(p.grades[rows], p.severity[rows]) for p in (good, worse)]
    known = scored(true[rows], twice[0], {("blur", 1): twice[1]}, groups=rows)
    unknown = scored(true[rows], twice[0], {("blur", 1): twice[1]})
    assert (known.n_patients, unknown.n_patients) == (60, None)
    spans = [r["blur", 1].qwk.interval for r in (known, unknown)]
    assert spans[0].high - spans[0].low > 1.2 * (spans[1].high - spans[1].low)
    assert spans[0].by_patient
    assert "too narrow" in shown(unknown)


def shown(report):
    from rich.console import Console

    console = Console(width=80, color_system=None)
    with console.capture() as text:
        console.print(report.to_table())
    return text.get()


@pytest.mark.parametrize("grade", [0, 3])
def test_one_class_and_one_image_have_no_kappa_and_say_so(grade):
    true = np.full(3, grade)
    same = Predicted(true.copy(), true.astype(float))
    report = scored(true, same, {("blur", 1): same})
    assert np.isnan(report.unchanged.qwk.value)
    assert np.isnan(report.means[1].qwk.value)
    assert report.to_dict()["changed"]["blur"]["1"]["qwk"]["value"] is None
    missing = "sensitivity" if grade < 2 else "specificity"
    assert np.isnan(report.unchanged.measures[missing].value)
    assert "one grade: kappa is 0 or undefined" in " ".join(shown(report).split())
    assert f"no {missing}" in shown(report)
    report.plot()
    one = scored(true[:1], Predicted(true[:1], None), {("blur", 1): Predicted(true[:1], None)})
    assert one.n_images == 1
    assert np.isnan(one.unchanged.qwk.value)
    json.dumps(one.to_dict(), allow_nan=False)


def test_a_model_without_severity_says_so():
    true, good, worse = by_hand()
    report = scored(
        true, good._replace(severity=None), {("blur", 1): worse._replace(severity=None)}
    )
    assert "severity_change" not in report["blur", 1].measures
    assert "no severity" in report.notes[0]
    assert 0 < report["blur", 1].measures["grades_changed"].value < 1
    assert "referable" not in shown(scored(true, good, {("blur", 1): worse}, referable=None))


def test_the_report_is_told_drawn_and_written():
    true, good, worse = by_hand()
    every = {(kind, k): worse for kind in ("blur", "jpeg") for k in (1, 2, 3)}
    report = scored(true, good, every, out_of_fold=True)
    frame = report.to_frame()
    assert list(frame)[:6] == ["kind", "strength", "n_images", "qwk", "qwk_low", "qwk_high"]
    assert frame["kind"].tolist() == ["unchanged", *["blur"] * 3, *["jpeg"] * 3, *["mean"] * 3]
    assert frame["sensitivity_high"].notna().sum() == 7
    scores = report.to_scores().set_index("score")
    assert scores.loc["blur 2: qwk", "value"] == report["blur", 2].qwk.value
    assert "mean 3: qwk_change" in scores.index
    assert "Under stress, out of fold: 60 images" in shown(report)
    assert max(map(len, shown(report).splitlines())) <= 80
    assert len([line for line in shown(report).splitlines() if " to " in line]) == 10
    with pytest.raises(AttributeError, match="before it is drawn"):
        _ = report.figure_
    ax = report.plot().ax_
    assert report.figure_ is ax.figure
    assert [t.get_text() for t in ax.get_yticklabels()] == ["blur", "jpeg", "mean of kinds"]
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels == ["unchanged", "mild", "medium", "strong"]
    from matplotlib.figure import Figure

    mine = Figure().subplots()
    assert report.plot(mine).ax_ is mine


@pytest.mark.parametrize("strengths", [(1, 2, 3), (2,), (1, 3)])
def test_the_figure_shows_each_kappa_in_its_row_and_colour(strengths):
    from matplotlib.colors import same_color

    true, good, _ = by_hand(80)
    rng, every = np.random.default_rng(3), {}
    for kind in ("jpeg", "blur"):
        for k in strengths:
            severity = true + rng.normal(0, 0.3 + 0.4 * k + (kind == "blur"), 80)
            every[kind, k] = Predicted(np.clip(np.rint(severity), 0, 4).astype(int), severity)
    report = scored(true, good, every)
    ax = report.plot().ax_
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == ["blur", "jpeg", "mean of kinds"]  # the worst at the strongest first
    legend = ax.get_legend()
    handles = zip(legend.get_texts(), legend.legend_handles, strict=True)
    colours = {text.get_text(): handle.get_color() for text, handle in handles}
    dots = [line for line in ax.lines if line.get_marker() not in ("None", None, "")]
    spans = [line for line in ax.lines if len(line.get_xdata()) == 2]
    for k in strengths:
        colour = colours[("mild", "medium", "strong")[k - 1]]
        own = [line for line in dots if same_color(line.get_color(), colour)]
        drawn = {names[round(line.get_ydata()[0])]: line.get_xdata()[0] for line in own}
        assert drawn == {
            "blur": report["blur", k].qwk.value,
            "jpeg": report["jpeg", k].qwk.value,
            "mean of kinds": report.means[k].qwk.value,
        }
        own = [line for line in spans if same_color(line.get_color(), colour)]
        ends = {names[round(line.get_ydata()[0])]: (*line.get_xdata(),) for line in own}
        interval = report["blur", k].qwk.interval
        assert ends["blur"] == (interval.low, interval.high)
    shown_base = [line for line in ax.lines if same_color(line.get_color(), colours["unchanged"])]
    assert shown_base[0].get_xdata()[0] == report.unchanged.qwk.value


def test_changed_rows_are_single_views(photographs):
    from fundus.data.inputs import as_images
    from fundus.frozen.views import with_views
    from fundus.frozen.work import digests

    ways = [degradations()["tone"](2), degradations()["blur"](3)]
    images, recipe = as_images(photographs.paths[:3]), ImageRecipe(32)
    rows = changed(images, ways, 7)
    assert len(rows) == 6
    for k, way in enumerate(ways):
        views = with_views(images, way, 7, 1)
        for i in range(3):
            assert np.array_equal(rows.picture(2 * i + k, recipe), views.picture(2 * i + 1, recipe))
        assert not {*digests(rows, None)} & {*digests(views, None)}  # whose masks are others
    assert digests(changed(images, ways[1:], 7), None) == digests(rows, None)[1::2]
    assert not {*digests(changed(images, ways, 8), None)} & {*digests(rows, None)}
    # arrays are their own images after a subset too
    arrays = np.stack([load_image(path, recipe) for path in photographs.paths[:3]])
    for made in (changed(as_images(arrays), ways, 7), with_views(as_images(arrays), ways[0], 7, 1)):
        pictures = [made.picture(row, recipe) for row in range(6)]
        half = made.subset(np.array([3, 5]))
        assert np.array_equal(half.picture(0, recipe), pictures[3])
        assert np.array_equal(half.picture(1, recipe), pictures[5])


def test_the_field_of_view_is_found_in_the_changed_picture(cache):
    """A photograph of another camera comes without a mask; that of a training view is warped."""
    from fundus.data.inputs import as_images
    from fundus.frozen.views import with_views
    from fundus.images.aperture import field_of_view

    rows, columns = np.mgrid[:32, :32] - 15.5
    dark = np.random.default_rng(0).integers(0, 16, (6, 32, 32, 3)).astype(np.uint8)
    disc = (np.hypot(rows, columns) < 14)[..., np.newaxis]
    shades = np.array([40, 80, 120, 160, 200, 240]).reshape(-1, 1, 1, 1)
    pictures = np.where(disc, (shades + dark) // 2, dark // 8).astype(np.uint8)
    y, way, recipe = np.arange(6) % 3, degradations()["halo"](3), ImageRecipe(32, None)
    made = changed(as_images(pictures), [way], 0)
    views = with_views(as_images(pictures), way, 0, 1)
    differ = 0
    for row in range(6):
        picture, mask = made.picture_and_mask(row, recipe)
        assert np.array_equal(picture, made.picture(row, recipe))
        assert np.array_equal(mask, field_of_view(picture[np.newaxis])[0])
        differ += not np.array_equal(mask, views.picture_and_mask(2 * row + 1, recipe)[1])
    assert differ > 0
    model = tiny(cache, crop=None, pool_over="fov", grades=3).fit(pictures, y)
    report = fundus.stress_report(model, pictures, y, kinds=["halo"], strengths=3, **ONCE)
    arrays = np.stack([made.picture(row, recipe) for row in range(6)])
    moved = model.predict_severity(arrays) - model.predict_severity(pictures)
    measure = report["halo", 3].measures["severity_change"]
    assert measure.value == pytest.approx(moved.mean(), abs=1e-5)


def test_a_file_is_read_and_decoded_once_for_all_its_changes(photographs, monkeypatch):
    from fundus.data import inputs
    from fundus.data.inputs import as_images
    from fundus.frozen.work import digests

    done = []
    original = inputs.decode, inputs.read_bytes
    monkeypatch.setattr(inputs, "decode", lambda *a, **k: done.append(0) or original[0](*a, **k))
    monkeypatch.setattr(inputs, "read_bytes", lambda *a: done.append(1) or original[1](*a))
    rows = changed(as_images(photographs.paths[:2]), [f(1) for f in degradations().values()], 0)
    digests(rows, None)
    assert done == [1, 1]
    for row in range(len(rows)):
        rows.picture(row, ImageRecipe(32))
    assert done.count(0) == 2


def test_a_report_is_that_of_the_changed_pictures(photographs, cache):
    """The same numbers, from pictures that are changed here and given as arrays."""
    recipe, y = ImageRecipe(32, None), photographs.grades
    pictures = np.stack([load_image(path, recipe) for path in photographs.paths])
    model = tiny(cache, grades=5, crop=None).fit(pictures[:24], y[:24])
    views = []
    for picture in pictures[24:]:
        content = int.from_bytes(hashlib.sha256(picture.tobytes()).digest()[:8], "big")
        seed = np.random.SeedSequence([0, 1, content])
        views.append(degradations()["tone"](3).augment(picture, seed))
    report = fundus.stress_report(model, photographs.paths[24:], y[24:], **QUICK)
    kappa = fundus.quadratic_weighted_kappa(y[24:], model.predict(np.stack(views)))
    assert report["tone", 3].qwk.value == pytest.approx(kappa)
    assert kappa != report.unchanged.qwk.value
    moved = model.predict_severity(np.stack(views)) - model.predict_severity(pictures[24:])
    measures = report["tone", 3].measures
    assert measures["severity_change"].value == pytest.approx(moved.mean(), abs=1e-5)
    assert measures["severity_change_rms"].value == pytest.approx(np.sqrt((moved**2).mean()))
    plain = fundus.evaluate(model, (photographs.paths[24:], y[24:])).report
    assert report.unchanged.qwk.value == pytest.approx(plain.qwk)


def test_a_second_report_computes_nothing_and_is_the_same(found, model, photographs):
    frame, y = photographs.frame[24:], photographs.grades[24:]
    before = work_done.copy()
    again = fundus.stress_report(model, frame, y, **QUICK)
    assert work_done == before
    assert again.to_dict() == found.to_dict()
    assert found.n_patients == frame["patient"].nunique()
    rows = np.random.default_rng(0).permutation(len(y))
    shuffled = fundus.stress_report(model, frame.iloc[rows], y[rows], **QUICK)
    pd.testing.assert_frame_equal(shuffled.to_frame(), found.to_frame())
    other = fundus.stress_report(model, frame, y, **QUICK, random_state=1)
    assert other["tone", 3].to_dict() != found["tone", 3].to_dict()
    assert not found.out_of_fold


def test_memory_holds_a_part_of_the_rows_at_a_time(model, photographs, found, monkeypatch):
    from fundus.reporting import stress

    lengths = []
    original = stress.changed
    monkeypatch.setattr(stress, "_ROWS", 12)
    monkeypatch.setattr(stress, "changed", lambda *a: lengths.append(len(a[0])) or original(*a))
    frame, y = photographs.frame[24:], photographs.grades[24:]
    again = fundus.stress_report(model, frame, y, **QUICK)
    assert lengths == [3, 3, 3, 3, 3, 1]
    assert again.to_dict() == found.to_dict()


def test_out_of_fold_each_image_is_graded_by_the_model_that_left_it_out(ensemble, photographs):
    frame, y = photographs.frame, photographs.grades
    report = fundus.stress_out_of_fold(ensemble, frame, y, **QUICK)
    own = fundus.evaluate_out_of_fold(ensemble, (frame, y)).report
    assert report.out_of_fold
    assert report.unchanged.qwk.value == pytest.approx(own.qwk)
    assert report.n_patients == own.n_patients
    hits = moved = 0
    for k, model in enumerate(ensemble.estimators_):
        test = np.flatnonzero(ensemble.oof_fold_ == k)
        part = fundus.stress_report(model, frame.iloc[test], y[test], **QUICK)
        share = part["shift", 3].measures
        hits += len(test) * share["grades_changed"].value
        moved += len(test) * share["severity_change"].value
    measures = report["shift", 3].measures
    assert measures["grades_changed"].value == pytest.approx(hits / len(y))
    assert measures["severity_change"].value == pytest.approx(moved / len(y))
    averaged = fundus.stress_report(ensemble, frame, y, **QUICK)
    assert averaged.unchanged.qwk.value != report.unchanged.qwk.value


def test_out_of_fold_other_images_are_refused(ensemble, model, photographs):
    frame, y = photographs.frame, photographs.grades
    with pytest.raises(DataError, match="39 images are scored out of fold"):
        fundus.stress_out_of_fold(ensemble, frame[:39], y[:39])
    with pytest.raises(DataError, match="in the same order"):
        fundus.stress_out_of_fold(ensemble, frame[::-1], y[::-1])
    with pytest.raises(InvalidParameterError, match="'ensemble' parameter of stress_out_of_fold"):
        fundus.stress_out_of_fold(model, frame, y)


def test_hard_votes_and_pipelines(photographs, cache):
    frame, y = photographs.frame, photographs.grades
    options = QUICK | {"kinds": ["tone"]}
    hard = FoldEnsemble(tiny(cache, "svm", grades=5), cv=2, voting="hard", random_state=0)
    report = fundus.stress_out_of_fold(hard.fit(frame, y), frame, y, **options)
    assert np.isfinite(report["tone", 2].qwk.value)
    extractor = FeatureExtractor("tiny", weights="fixed", cache=cache)
    pipe = make_pipeline(extractor, LogisticRegression()).fit(photographs.paths, y)
    found = fundus.stress_report(pipe, photographs.paths, y, **options)
    kappa = fundus.quadratic_weighted_kappa(y, pipe.predict(photographs.paths))
    assert found.unchanged.qwk.value == pytest.approx(kappa)
    several = FoldEnsemble(pipe, cv=2, random_state=0).fit(photographs.paths, y)
    report = fundus.stress_out_of_fold(several, photographs.paths, y, **options)
    assert report.unchanged.qwk.value == pytest.approx(
        fundus.quadratic_weighted_kappa(y, several.oof_prediction_)
    )


def test_jobs_do_not_change_the_report(photographs, model, found):
    frame, y = photographs.frame[24:], photographs.grades[24:]
    other = pickle.loads(pickle.dumps(model)).set_params(n_jobs=2, cache=False)
    again = fundus.stress_report(other, frame, y, **QUICK)
    assert again["tone", 3].qwk.value == found["tone", 3].qwk.value
    assert again["shift", 2].measures["severity_change"].value == pytest.approx(
        found["shift", 2].measures["severity_change"].value, abs=1e-5
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ["fog"]}, r"'kinds' parameter of stress_report must be None, or names out of"),
        ({"kinds": []}, "'kinds' parameter"),
        ({"strengths": [4]}, "'strengths' parameter of stress_report must be numbers out of 1, 2"),
        ({"strengths": [True]}, "'strengths' parameter"),
        ({"referable": 5}, "'referable' parameter of stress_report must be a position"),
        ({"referable": 0}, "'referable' parameter"),
        ({"random_state": -1}, "'random_state' parameter"),
        ({"n_resamples": 0}, "'n_resamples' parameter"),
    ],
)
def test_what_cannot_be_asked_for(model, photographs, options, message):
    before = work_done.copy()
    with pytest.raises(InvalidParameterError, match=message):
        fundus.stress_report(model, photographs.paths, photographs.grades, **options)
    assert work_done == before


def test_bad_data_is_refused(model, photographs, blobs, tmp_path, cache):
    paths, y = [*photographs.paths[:3]], [*photographs.grades[:3]]
    with pytest.raises(InvalidGradeError, match=r"Got nan in row 1"):
        fundus.stress_report(model, paths, [0, float("nan"), 2], **QUICK)
    with pytest.raises(DataError, match="Got 2 for 3 images"):
        fundus.stress_report(model, paths, y[:2], **QUICK)
    with pytest.raises(DataError, match="groups must have one patient a row"):
        fundus.stress_report(model, paths, y, groups=[1], **QUICK)
    with pytest.raises(DataError, match="single path"):
        fundus.stress_report(model, paths[0], y[:1], **QUICK)
    with pytest.raises(DataError, match="features that were computed before cannot be changed"):
        fundus.stress_report(LogisticRegression().fit(*blobs), *blobs)
    with pytest.raises(DataError, match="features that were computed before cannot be changed"):
        fundus.stress_report(model, blobs[0], blobs[1])
    broken = tmp_path / "broken.jpeg"
    broken.write_bytes(b"no picture")
    with pytest.raises(ImageReadError, match=r"^Row 3: .*broken.jpeg"):
        fundus.stress_report(model, [*paths, str(broken)], [*y, 0], **QUICK)
    one = fundus.stress_report(model, paths[:1], y[:1], **QUICK)
    assert one.n_images == 1
    assert isinstance(one.unchanged.qwk, Measure)


def test_the_few_kinds_are_kinds():
    assert set(FEW_KINDS) <= set(degradations())
    assert pd.Series(FEW_KINDS).is_unique
