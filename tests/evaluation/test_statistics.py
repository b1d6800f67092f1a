"""Intervals and tests against published figures, and against scipy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from slide_deploy.evaluation.statistics import Pairs, difference, exact_test, share

# Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3: right, of, low, high.
PUBLISHED = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("count", "of", "low", "high"), PUBLISHED)
def test_shares_have_the_intervals_of_the_paper(
    count: int, of: int, low: float, high: float
) -> None:
    found = share(count, of)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.value == count / of


@given(st.integers(1, 60_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_shares_have_the_intervals_of_scipy(counts: tuple[int, int]) -> None:
    theirs = binomtest(*counts).proportion_ci(method="wilson")
    found = share(*counts)
    assert found.low == pytest.approx(theirs.low, abs=1e-12)
    assert found.high == pytest.approx(theirs.high, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_difference_has_the_published_interval() -> None:
    """Complete response before and after consolidation therapy (Cavo et al., 2012).

    Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter 8:
    Newcombe's square-and-add interval is -0.1186 to -0.0046.
    """
    found = difference(Pairs(59, 6, 16, 80))
    assert [round(each, 4) for each in (found.value, found.low, found.high)] == [
        -0.0621,
        -0.1186,
        -0.0046,
    ]


COUNTS = st.integers(0, 500)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_difference_changes_its_sign_with_its_sides(a: int, b: int, c: int, d: int) -> None:
    found, turned = difference(Pairs(a, b, c, d)), difference(Pairs(a, c, b, d))
    assert found.p == turned.p
    if a + b + c + d:
        assert found.low == pytest.approx(-turned.high, abs=1e-12)
        assert found.low <= found.value <= found.high
        assert found.low >= -1 and found.high <= 1


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_the_paired_test_is_a_fair_coin(first: int, second: int) -> None:
    wanted = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert exact_test(first, second) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


def test_the_paired_test_of_many_pictures_is_no_overflow() -> None:
    assert exact_test(25_000, 26_000) == pytest.approx(
        binomtest(25_000, 51_000, 0.5).pvalue, rel=1e-6
    )
    assert 0 <= exact_test(0, 50_000) < 1e-300


def test_without_pictures_nothing_is_known() -> None:
    found = share(0, 0)
    assert math.isnan(found.value) and (found.low, found.high) == (0, 1)
    nothing = difference(Pairs(0, 0, 0, 0))
    assert math.isnan(nothing.value) and (nothing.low, nothing.high, nothing.p) == (-1, 1, 1)
