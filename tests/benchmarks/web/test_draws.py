"""The page draws the same inputs as other languages, and compares outputs like Python."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.web.pages import FACE, WORKER, script
from slide_deploy.backends.web.site import Resource, Site, serving
from slide_deploy.verification import draws
from slide_deploy.verification.draws import Frame, Recipe
from slide_deploy.verification.parity import compare
from tests.benchmarks.web.references import word

MODULES: dict[str, Resource] = {name: script(name) for name in {*FACE, *WORKER}}


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """Open a page that can import the modules."""
    with serving(Site({"x.html": b"<p>", **MODULES})) as port:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/x.html")
        yield page


def recipes() -> Iterator[Recipe]:
    yield draws.normal(11, (2, 3, 10, 9), "float32")
    yield draws.normal(2**32 - 1, (1, 5), "float32", 0.125)
    yield draws.normal(3, (4, 4), "float16", 0.5)
    yield draws.pixels(7, (1, 3, 9, 9), "uint8", 0, 256)
    yield draws.pixels(7, (3, 3), "float32", 1, 255)
    yield draws.choice(5, (40,), np.array([3, 7, 2**40], np.int64))
    yield draws.choice(5, (6, 2), np.array([0.5, -2.5], np.float32))
    yield draws.constant((2, 2), "float32", 0.1)
    yield draws.constant((3,), "bool", True)
    image = draws.normal(13, (1, 3, 12, 10), "float32")
    framed = {"frame": Frame(4, 0.25)}
    for settings in (
        framed,
        {"axes": (0, 2, 3, 1)},
        {"reverse": 1},
        {"axes": (0, 2, 3, 1), "reverse": 3, **framed},
    ):
        yield Recipe(**{**vars(image), **settings})


@pytest.mark.parametrize("recipe", recipes(), ids=lambda each: f"{each.draw['kind']}-{each.dtype}")
def test_every_recipe_gives_equal_bits(page: Any, recipe: Recipe) -> None:
    given = {**vars(recipe), "frame": recipe.frame and vars(recipe.frame)}
    made = page.evaluate(
        """async recipe => {
          const { tensorOf } = await import("/draws.js");
          const { shape, values } = tensorOf(recipe);
          const { buffer, byteOffset, byteLength } = values;
          return { shape, bytes: [...new Uint8Array(buffer, byteOffset, byteLength)] };
        }""",
        json.loads(json.dumps(given)),
    )
    wanted = recipe.tensor()
    assert tuple(made["shape"]) == wanted.shape
    assert bytes(made["bytes"]) == wanted.tobytes()


def test_three_implementations_give_equal_words(page: Any) -> None:
    """The page, the project, and the whole numbers of Python without numpy."""
    asked = """async ([seed, count]) => {
      const { word } = await import("/draws.js");
      return Array.from({ length: count }, (_, place) => word(seed, place));
    }"""
    for seed in (0, 1, 5, 2**31, 2**32 - 1):
        found = page.evaluate(asked, [seed, 50])
        assert found == draws.words(seed, 50).tolist() == [word(seed, each) for each in range(50)]


def texts(number: float) -> str:
    """Return a value as JavaScript reads it."""
    return str(float(number)).replace("inf", "Infinity")


TRUTH = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)


@pytest.mark.parametrize(
    ("answer", "truth", "scale", "is_centred"),
    [
        (TRUTH + 1e-3, TRUTH, 4.0, False),
        (TRUTH * 1.01, TRUTH, 4.0, True),
        (TRUTH, TRUTH, 4.0, False),
        (TRUTH + 1e-6, TRUTH * 0, 4.0, False),
        (np.where(TRUTH < 0, -np.inf, TRUTH + 0.1), np.where(TRUTH < 0, -np.inf, TRUTH), 3, False),
        (np.where(TRUTH < 0, np.inf, TRUTH), np.where(TRUTH < 0, -np.inf, TRUTH), 3, False),
        (np.where(TRUTH < 0, np.nan, TRUTH), TRUTH, 4.0, False),
        (TRUTH[:1], TRUTH, 4.0, False),
        (np.array([3, 5, 9, 9]), np.array([3, 5, 9, 10]), 10.0, False),
        (np.array([3, 5]), np.array([3, 5]), 5.0, True),
        (np.array([True, False, True]), np.array([True, True, True]), 1.0, False),
        (np.array([3, 5]), np.array([3, 5, 9]), 9.0, False),
    ],
)
def test_the_comparison_agrees_with_python(
    page: Any, answer: np.ndarray, truth: np.ndarray, scale: float, is_centred: bool
) -> None:
    if truth.dtype.kind == "f":
        answer, truth = answer.astype(np.float32), truth.astype(np.float32)
    figures = page.evaluate(
        """async ([dtype, answer, shape, truth, wanted, scale, isCentred]) => {
          const { compare } = await import("/references.js");
          const { typed } = await import("/tensors.js");
          const given = { dtype, shape, values: typed(dtype, answer.map(Number)) };
          const known = { dtype, shape: wanted, values: typed(dtype, truth.map(Number)) };
          const output = { shape: wanted, samples: null, scale: 0 };
          const { relative, snr } = compare(given, known, output, scale, isCentred);
          return [String(relative), String(snr)];
        }""",
        [
            truth.dtype.name,
            [texts(each) for each in answer.ravel().tolist()],
            list(answer.shape),
            [texts(each) for each in truth.ravel().tolist()],
            list(truth.shape),
            scale,
            is_centred,
        ],
    )
    wanted = compare(answer, truth, scale, is_centred)
    for found, known in zip(figures, (wanted.max_relative, wanted.snr_db), strict=True):
        number = float(found.replace("Infinity", "inf"))
        assert (math.isnan(number) and math.isnan(known)) or number == pytest.approx(known, 1e-9)


def test_half_precision_works_in_a_browser_without_it(page: Any) -> None:
    """Every number of 16 bits goes to a word and back, and numbers between round to even."""
    found = page.evaluate(
        """async values => {
          const { halfOf, ofHalf } = await import("/tensors.js");
          const words = Array.from({ length: 65536 }, (_, word) => word);
          const wrong = words.filter(word => {
            const value = ofHalf(word);
            return !Number.isNaN(value) && halfOf(value) !== word;
          });
          return [wrong, values.map(halfOf)];
        }""",
        [1.0 + 2**-11, 1.0 + 3 * 2**-11, 65519.0, 65520.0, 2.0**-25, 3 * 2.0**-26, -1e-9],
    )
    values = [1.0 + 2**-11, 1.0 + 3 * 2**-11, 65519.0, 65520.0, 2.0**-25, 3 * 2.0**-26, -1e-9]
    assert found == [[], np.array(values).astype(np.float16).view(np.uint16).tolist()]


def test_modules_come_after_those_that_they_import() -> None:
    from benchmarks.web.single_file import joined

    for names, others in ((WORKER, {}), (FACE, {"source.js": "inline_source.js"})):
        text = joined(names, others)
        assert "\nimport " not in text and "\nexport " not in text
    with pytest.raises(ValueError, match=r"main\.js imports .*, which come after it"):
        joined(("main.js", *FACE[:-1]))
    assert Path(script("timing.js")).is_file()


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        ({"tested": 0}, "unproven"),
        ({"tested": 1, "relative": 1e-6, "snr": 90.2}, "1 case, at worst 90 dB"),
        ({"tested": 2, "relative": 0, "snr": "Infinity"}, "2 cases, at worst exact"),
        ({"tested": 2, "relative": 0.0125, "snr": "Infinity"}, "2 cases, at worst 1.3 % differ"),
    ],
)
def test_a_proof_is_exact_only_if_nothing_differs(
    page: Any, proof: dict[str, object], words: str
) -> None:
    told = page.evaluate(
        """async proof => {
          const { proofText } = await import("/race.js");
          return proofText({ ...proof, snr: Number(proof.snr) });
        }""",
        proof,
    )
    assert told == words


@pytest.mark.parametrize(
    ("factor", "height", "tested", "is_wrong"),
    [(2, 8, 1, False), (3, 8, 1, True), (2, 9, 0, False), (3, 9, 0, True)],
)
def test_a_file_timed_at_other_sizes_is_verified_at_its_own(
    page: Any, factor: int, height: int, tested: int, is_wrong: bool
) -> None:
    """The session multiplies by a factor; its reference outputs are of a height of 8, times 2."""
    found = page.evaluate(
        """async ([factor, height]) => {
          const { prove } = await import("/references.js");
          const { tensorOf } = await import("/draws.js");
          const draw = { kind: "normal", seed: 3, factor: 1 };
          const recipe = { dtype: "float32", shape: [1, 2, 8], draw };
          const { values } = tensorOf(recipe);
          const doubled = values.map(each => 2 * each);
          const truth = { dtype: "float32", shape: [1, 2, 8], values: doubled };
          const outputs = { out: { shape: [1, 2, 8], samples: null, scale: 1 } };
          const reference = {
            cases: [{ name: "noise", rows: null, inputs: { x: recipe }, outputs }],
            limit: { relative: 1e-4, snr_db: 80 },
            tensors: { "output/noise/out": truth },
          };
          const session = {
            inputs: [{ name: "x", dtype: "float32", shape: [null, 2, null] }],
            bind(feeds) { this.bound = feeds.x; },
            async run() {},
            read() {
              const answer = this.bound.values.map(each => factor * each);
              return [{ ...this.bound, name: "out", values: answer }];
            },
          };
          const ports = [{ name: "x", dtype: "float32", shape: [1, 2, height] }];
          const { tested, wrong } = await prove(session, ports, reference);
          return [tested, wrong];
        }""",
        [factor, height],
    )
    assert found[0] == tested
    assert found[1] == ("wrong: 6 dB on noise" if is_wrong else None)
