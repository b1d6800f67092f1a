"""Thresholds: one parser, and no ambiguous text."""

import pytest

from slide_deploy.errors import InputError
from slide_deploy.parsing import parse_share


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("5%", 0.05),
        ("5 %", 0.05),
        (" 5.5% ", 0.055),
        ("0.05", 0.05),
        (".05", 0.05),
        ("0", 0.0),
        ("0%", 0.0),
        ("0.5%", 0.005),
        ("500%", 5.0),
        ("100 %", 1.0),
    ],
)
def test_percentages_and_fractions_are_parsed(text: str, share: float) -> None:
    assert parse_share(text, "--fail-above") == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("5", "give 5% or 500%"),
        ("1", "give 1% or 100%"),
        ("1.0", "give 1.0% or 100%"),
        ("1.5", "give 1.5% or 150%"),
        ("100", "give 100% or 10000%"),
    ],
)
def test_an_ambiguous_number_is_refused_with_both_readings(text, readings) -> None:
    with pytest.raises(InputError, match=f"--max-drop {text} is ambiguous: {readings}"):
        parse_share(text, "--max-drop")


@pytest.mark.parametrize(
    "text",
    ["-5%", "-0.05", "nan", "NaN%", "inf", "0,05", "5%%", "%", "", ".", "5 % 5", "0x1", "٥%"],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a percentage: give 5% or 0\.05"):
        parse_share(text, "--fail-above")
