"""`evaluate(by=, prevalence=)`: scores of groups, and predictive values."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

import fundus
from fundus.data.grouping import Grouping, group_images
from fundus.exceptions import DataError, InvalidParameterError
from fundus.reporting.by_group import Referral, group_report


def codes_of(values, column="c", **how):
    found = group_images(pd.DataFrame({column: values}), column, **how)
    return found.names, found.codes.tolist()


@pytest.mark.parametrize(
    ("values", "names", "codes"),
    [
        (["Ω", "β", "Ω"], ("Ω", "β"), [0, 1, 0]),
        ([1.0, np.nan, 2.0], ("1", "2"), [0, -1, 1]),
        ([10, 9, 10], ("9", "10"), [1, 0, 1]),
        (["a", "  ", None], ("a",), [0, -1, -1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
    ],
)
def test_categories_are_values_and_missing_ones_are_apart(values, names, codes):
    assert codes_of(values) == (names, codes)


def test_ages_are_cut_into_decades_and_other_measurements_at_quartiles():
    ages = [*range(20, 40), np.nan, np.inf]
    assert codes_of(ages, "Patient_Age") == (
        ("20 to 29", "30 to 39"),
        [0] * 10 + [1] * 10 + [-1, -1],
    )
    assert codes_of([30, 35, 40, 35], "age") == (("30 to 39", "40 to 49"), [0, 0, 1, 0])
    assert codes_of([1, 2, 3, 2], "age") == (("1", "2", "3"), [0, 1, 2, 1])  # codes of groups
    names, codes = codes_of(np.arange(21.0), "pressure")
    assert names == ("0 to 5", "5 to 10", "10 to 15", "15 to 20")
    assert np.bincount(codes).tolist() == [6, 5, 5, 5]
    assert len(codes_of(np.arange(21.0), "age", bands=False)[0]) == 21
    assert len(set(codes_of(np.arange(21) + 10**7, "exposure")[0])) == 4
    assert codes_of([0.0] * 80 + [*range(1, 12)], "pressure")[0] == ("0 to 11",)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"eye": ["left"]}), r"no column 'c' for by=; the columns are 'eye'"),
        ([[0.0]], "stand in no table"),
        (pd.DataFrame({"c": [None, np.nan]}), "no value in any row"),
        (pd.DataFrame({"c": [f"{k}.png" for k in range(101)]}), "101 different values"),
    ],
)
def test_columns_that_make_no_groups_are_refused(frame, message):
    with pytest.raises(DataError, match=message):
        group_images(frame, "c")


def test_scores_of_a_group_are_those_of_its_images_alone():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 120)
    pred = np.clip(true + rng.integers(-1, 2, 120), 0, 4)
    codes = np.repeat([0, 1, -1], [80, 39, 1])
    referral = Referral(true >= 2, pred >= 2, "grade")
    found = group_report(
        true, pred, Grouping("site", ("a", "b"), codes), n_grades=5, referral=referral
    )
    for group, code in zip(found.groups[:2], (0, 1), strict=True):
        y, z = true[codes == code], pred[codes == code]
        kappa = cohen_kappa_score(y, z, weights="quadratic", labels=range(5))
        assert group.qwk.value == pytest.approx(kappa)
        assert group.qwk.interval.low < kappa < group.qwk.interval.high
        assert group.sensitivity.value == pytest.approx((z[y >= 2] >= 2).mean())
        assert group.specificity.value == pytest.approx((z[y < 2] < 2).mean())
        assert (group.n_images, group.n_referable) == (len(y), (y >= 2).sum())
    assert [(group.name, group.few) for group in found.groups] == [
        ("a", False),
        ("b", False),
        (None, True),
    ]
    one = found.groups[2]
    assert np.isnan(one.qwk.value)
    assert one.n_images == 1
    json.dumps(found.to_dict(), allow_nan=False)
    assert [str(cell) for cell in found.to_table().columns[0].cells] == ["a", "b", "unknown *"]


def test_a_group_called_unknown_is_not_that_without_a_value():
    true, codes = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 0, 0, -1, -1, -1])
    found = group_report(true, true, Grouping("site", ("unknown",), codes), n_grades=3)
    assert list(found.measures()) == ["site unknown: qwk", "site no value: qwk"]
    assert [group["group"] for group in found.to_dict()["groups"]] == ["unknown", None]


def test_a_group_of_one_grade_has_no_kappa_whatever_is_predicted():
    true, pred = np.array([1, 1, 1, 0, 2]), np.array([1, 2, 0, 0, 2])
    grouping = Grouping("site", ("a", "b"), np.array([0, 0, 0, 1, 1]))
    found = group_report(true, pred, grouping, n_grades=5, groups=np.array([*"xxyzz"]))
    assert np.isnan(found.groups[0].qwk.value)
    assert found.groups[1].qwk.value == 1
    assert "A group of one grade has no kappa" in found.to_table().caption
    assert [group.n_patients for group in found.groups] == [2, 1]


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 3))
    y = np.digitize(X[:, 0] + 0.5 * rng.normal(size=160), [-0.7, 0, 0.6, 1.2])
    frame = pd.DataFrame(X, columns=list("abc")).assign(sex=[1, 2] * 80)
    model = fundus.FoldEnsemble(LogisticRegression(), cv=2, random_state=0).fit(frame, y)
    return model, (frame, y)


@pytest.mark.slow
def test_evaluation_by_column_and_at_a_prevalence(scored):
    model, data = scored
    plain = fundus.evaluate_out_of_fold(model, data)
    found = fundus.evaluate_out_of_fold(model, data, by="sex", prevalence=0.1)
    new = {"by", "predictive_values"}
    assert {k: v for k, v in found.to_dict().items() if k not in new} == plain.to_dict()
    groups = found.to_dict()["by"]["sex"]["groups"]
    assert [group["n_images"] for group in groups] == [80, 80]
    assert "the point for sensitivity 0.9" in found.by[0].rule
    names = found.scores()["score"].tolist()
    assert "sex 1: qwk" in names
    assert "referable at sensitivity 0.9: ppv" in names
    point, ppv = found.screening.conditions[0].points[0], found.predictive.ppv[0]
    sens, spec = point.sensitivity.value, point.specificity.value
    assert ppv.value == pytest.approx(0.1 * sens / (0.1 * sens + 0.9 * (1 - spec)))
    assert ppv.interval.low < ppv.value < ppv.interval.high
    npv = found.predictive.npv[0]
    for end in ("low", "high"):  # both rise with both
        sens, spec = (getattr(m.interval, end) for m in (point.sensitivity, point.specificity))
        wanted = fundus.predictive_values(sens, spec, 0.1)
        ends = [getattr(measure.interval, end) for measure in (ppv, npv)]
        assert ends == pytest.approx([float(value) for value in wanted])
    assert "Predictive values where 10 %" in str(found)
    assert "By sex" in str(found)


@pytest.mark.slow
def test_groups_are_resampled_by_the_patients_of_the_frame(scored):
    model, (frame, y) = scored
    who = np.arange(160) // 4
    known = frame.assign(patient=who, site=np.where(who < 20, "a", "b"))
    found = fundus.evaluate_out_of_fold(model, (known, y), by="site").by[0].groups
    alone = fundus.evaluate_out_of_fold(model, (known.drop(columns="patient"), y), by="site")
    assert [group.n_patients for group in found] == [20, 20]
    assert [group.n_patients for group in alone.by[0].groups] == [None, None]
    for group, other in zip(found, alone.by[0].groups, strict=True):
        assert group.qwk.value == other.qwk.value
        assert group.qwk.interval.by_patient > other.qwk.interval.by_patient
        assert group.qwk.interval.low != other.qwk.interval.low
    console = fundus.evaluate_out_of_fold(model, (known, y), by="site").by[0].to_table()
    assert "Intervals, 95 %, are by patient" in console.caption
    assert "too narrow" in alone.by[0].to_table().caption


def test_predictive_values_are_shares_of_the_referred():
    ill, well = np.array([1] * 9 + [0]), np.array([1] * 18 + [0] * 72)
    ppv, npv = fundus.predictive_values(ill.mean(), 1 - well.mean(), 10 / 100)
    assert ppv == pytest.approx(9 / 27)
    assert npv == pytest.approx(72 / 73)
    assert np.isnan(fundus.predictive_values(0, 1, 0.5)[0])


@pytest.mark.parametrize("prevalence", [0, 1, -0.1, 1.5, np.nan, "0.1", True])
def test_a_prevalence_is_a_share(scored, prevalence):
    with pytest.raises(InvalidParameterError, match=r"in the range \(0, 1\)"):
        fundus.evaluate(*scored, prevalence=prevalence)


def test_what_is_asked_is_checked_before_anything_is_predicted(scored):
    _, data = scored

    class Unused(LogisticRegression):
        def predict_proba(self, X):
            raise AssertionError("predicted")

    model = Unused().fit(data[0], data[1])
    with pytest.raises(DataError, match=r"no column 'camera' for by=; .*'sex'"):
        fundus.evaluate(model, data, by=["sex", "camera"])
    with pytest.raises(DataError, match="X holds features"):
        fundus.evaluate(model, data, shortcuts=True)


def test_predictive_values_need_a_severity_on_five_grades(scored):
    _, (frame, y) = scored
    model = LogisticRegression().fit(frame, y > 1)
    with pytest.raises(DataError, match="scale of five grades"):
        fundus.evaluate(model, (frame, (y > 1).astype(int)), prevalence=0.2)
    found = fundus.evaluate(model, (frame, (y > 1).astype(int)), by="sex")
    assert found.by[0].groups[0].sensitivity is None
