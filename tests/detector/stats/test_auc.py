"""The area under the ROC curve as a mean of terms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from backslide_detector.stats.linearised import auc_terms

# Albumin, total protein, K-G score and whether the patient was helped: the 43 complete cases of
# DeLong et al. 1988 as SAS prints them (SAS/STAT 9.22 User's Guide, Example 51.8).
PATIENTS = np.fromstring(
    """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
    1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
    4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
    3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
    3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
    3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
    3.6 6.6 5 1
    """,
    sep=" ",
).reshape(-1, 4)
HELPED = PATIENTS[:, 3] == 1


@pytest.mark.parametrize(
    ("scores", "area", "error"),
    [
        (PATIENTS[:, 0], 0.7366, 0.0927),
        (PATIENTS[:, 1], 0.6478, 0.1000),
        (10 - PATIENTS[:, 2], 0.7258, 0.1028),
    ],
    ids=["albumin", "total protein", "K-G score"],
)
def test_area_and_standard_error_are_delongs(scores, area, error):
    """The areas and standard errors that SAS prints for these data."""
    terms = auc_terms(HELPED, scores)
    assert terms.mean() == pytest.approx(area, abs=5e-5)
    # Placements give the standard error with a denominator for each class of its own.
    n, yes, no = len(terms), np.count_nonzero(HELPED), np.count_nonzero(~HELPED)
    of_yes, of_no = terms[HELPED] * yes / n, terms[~HELPED] * no / n
    delong = np.sqrt(of_yes.var(ddof=1) / yes + of_no.var(ddof=1) / no)
    assert delong == pytest.approx(error, abs=5e-5)
    assert terms.std(ddof=1) / np.sqrt(n) == pytest.approx(error, rel=0.04)


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60))
def test_the_mean_is_the_area_ties_and_all(examples):
    truth = np.array([positive for positive, _ in examples])
    scores = np.array([float(score) for _, score in examples])
    if len(set(truth.tolist())) < 2:
        with pytest.raises(ValueError, match="both classes"):
            auc_terms(truth, scores)
        return
    assert auc_terms(truth, scores).mean() == pytest.approx(roc_auc_score(truth, scores))


def test_the_paired_difference_covers():
    """Two correlated scores of equal worth: zero lies in 95 % of the intervals."""
    random = np.random.default_rng(8)
    missed = 0
    for _ in range(400):
        truth = random.random(300) < 0.3
        shared = random.normal(truth * 1.0, 1)
        ours, theirs = (shared + random.normal(0, 0.5, 300) for _ in range(2))
        gap = auc_terms(truth, ours) - auc_terms(truth, theirs)
        missed += abs(gap.mean()) > 1.968 * gap.std(ddof=1) / np.sqrt(300)
    assert 0.02 <= missed / 400 <= 0.085
