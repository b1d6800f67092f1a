"""Shares, as thresholds are given: "5%" or "0.05"."""

import re

from slide_deploy.errors import InputError


def parse_share(text: str, option: str) -> float:
    """A share of 1 from "5%", "5 %" or "0.05".

    A number without % is refused from 1 on: a gate at 500 % that was meant to be one at 5 % would
    let everything pass.

    Args:
        text: as the user gave it.
        option: that it was given to, for the sentence.

    Raises:
        InputError: if the text is no share, or can be read in two ways.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)", text.strip())
    if match is None:
        raise InputError(f"{option} {text} is no share: give 5% or 0.05.")
    number = float(match[1])
    if match[2]:
        return number / 100
    if number >= 1:
        raise InputError(
            f"{option} {text} can be read in two ways: give {match[1]}% or {number * 100:g}%."
        )
    return number
