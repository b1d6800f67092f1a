"""Damaged files lead to a one-sentence error or to a report, whatever was damaged."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from slide_deploy.errors import InputError
from slide_deploy.graph_checks import inspect, read_graph, standard_ops
from slide_deploy.graph_checks.check import check_graph
from slide_deploy.saved.mlpackage.protobuf import model_messages
from tests.graph_checks.protobuf_fuzz import alter
from tests.graph_checks.small_models import Files
from tests.mutants.editing import copied

Change = Callable[[random.Random, bytearray], None]
MESSAGES: dict[str, Any] = {".onnx": onnx.ModelProto, ".mlmodel": model_messages().Model}


def flip_bytes(rng: random.Random, content: bytearray) -> None:
    for _ in range(rng.choice((1, 2, 8, 64))):
        content[rng.randrange(len(content))] = rng.randrange(256)


def flip_bits(rng: random.Random, content: bytearray) -> None:
    for _ in range(rng.choice((1, 4, 16))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def truncate(rng: random.Random, content: bytearray) -> None:
    del content[rng.randrange(len(content)) :]


def erase(rng: random.Random, content: bytearray) -> None:
    start, size = rng.randrange(len(content)), rng.randrange(1, 200)
    content[start : start + size] = bytes(rng.choice((0, 255)) for _ in range(size))


def move(rng: random.Random, content: bytearray) -> None:
    start, size = rng.randrange(len(content)), rng.randrange(1, 400)
    piece = content[start : start + size]
    if rng.random() < 0.5:
        del content[start : start + size]
    at = rng.randrange(len(content) + 1)
    content[at:at] = piece


NUMBERS = (b"0", b"-1", b"1", b"7", b"4294967296", b"99999999999999999999", b"x", b"", b"1e9")


def alter_numbers(rng: random.Random, content: bytearray) -> None:
    """Text numbers, which only some files have; elsewhere it alters digits in names."""
    found = list(re.finditer(rb"\d+", content))
    for match in sorted(rng.sample(found, min(len(found), rng.choice((1, 3)))), key=_backwards):
        content[match.start() : match.end()] = rng.choice(NUMBERS)


def exchange_names(rng: random.Random, content: bytearray) -> None:
    """One word for another of the same length: names, operators, attributes change places."""
    words = list(re.finditer(rb"[A-Za-z_]{3,}[A-Za-z_0-9.]*", content))
    first = rng.choice(words)
    size = first.end() - first.start()
    second = rng.choice([word for word in words if word.end() - word.start() == size])
    content[first.start() : first.end()] = second.group()


def _backwards(match: re.Match[bytes]) -> int:
    return -match.start()


CHANGES: tuple[Change, ...] = (
    flip_bytes,
    flip_bits,
    truncate,
    erase,
    move,
    alter_numbers,
    exchange_names,
)
# Most damage where the structure is, some to the weights and the manifest.
PARTS = {
    "onnx": ("nano.onnx",),
    "openvino": ("nano.xml",) * 5 + ("nano.bin",),
    "coreml": ("Data/com.apple.CoreML/model.mlmodel",) * 5
    + ("Data/com.apple.CoreML/weights/weight.bin", "Manifest.json"),
}


def damaged(rng: random.Random, suffix: str, original: bytes) -> bytes:
    if suffix in MESSAGES and rng.random() < 0.7:
        message = MESSAGES[suffix].FromString(original)
        for _ in range(rng.choice((1, 2, 5))):
            alter(rng, message)
        return bytes(message.SerializeToString())
    content = bytearray(original)
    rng.choice(CHANGES)(rng, content)
    return bytes(content)


def fuzz(path: Path, format: str, folder: Path, seeds: range) -> dict[str, int]:
    """Damage a copy of a file again and again; how often it was refused, reported and passed."""
    policy = standard_ops()
    outcomes = {"refused": 0, "violations": 0, "passed": 0}
    target = copied(path, folder)
    root = target if target.is_dir() else folder
    for seed in seeds:
        rng = random.Random(f"{format} {seed}")
        part = root / rng.choice(PARTS[format])
        original = part.read_bytes()
        part.write_bytes(damaged(rng, part.suffix, original))
        try:
            graph = read_graph(target)
            found = list(check_graph(graph, policy))
            inspect(graph)
            outcomes["violations" if found else "passed"] += 1
        except InputError as error:
            assert str(target) in str(error), f"seed {seed}"
            outcomes["refused"] += 1
        except BaseException:
            print(f"seed {seed} of {format}")
            raise
        finally:
            part.write_bytes(original)
    return outcomes


@pytest.mark.parametrize("format", PARTS)
def test_damaged_files_end_in_a_sentence_or_a_report(
    smallest: Files, tmp_path: Path, format: str
) -> None:
    outcomes = fuzz(smallest[format], format, tmp_path, range(250))
    assert min(outcomes["refused"], outcomes["violations"]) > 20, outcomes


@pytest.mark.full
@pytest.mark.parametrize("format", PARTS)
def test_thousands_of_damaged_files(smallest: Files, tmp_path: Path, format: str) -> None:
    fuzz(smallest[format], format, tmp_path, range(200, 870))
