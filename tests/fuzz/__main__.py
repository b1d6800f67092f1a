"""Feeds damaged files to every reader and prints what came of them.

    python -m tests.fuzz                       10,000 inputs for each reader
    python -m tests.fuzz onnx suite --inputs 500
    python -m tests.fuzz onnx --only 4711      one input again, with its traceback
    python -m tests.fuzz labels --out PAGE     the row of a reader in the table of a page

Inputs that were neither refused nor accepted are kept in build/fuzz. The command ends with 1 if
there are any.
"""

import argparse
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from benchmarks.generated_page import GeneratedPage, Grid
from tests.fuzz import guided
from tests.fuzz.child import Trial
from tests.fuzz.readers import READERS, Reader, reader_named
from tests.fuzz.running import ROOT, Row, run
from tests.pages import generated_rows

FOUND = ROOT / "build" / "fuzz"
_COLUMNS = ("inputs", "refused", "accepted", "crashes", "hangs", "code run", "peak MB", "seconds")
_PAGE_COLUMNS = ("reader", "inputs", "refused", "accepted", "findings", "seconds", "peak MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help="all if left out")
    parser.add_argument("--inputs", type=int, default=10_000, help="for each reader")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", type=int, help="number of the one input to try")
    parser.add_argument("--no-guide", action="store_true", help="leave atheris out")
    parser.add_argument("--out", type=Path, metavar="PAGE", help="page to put the rows into")
    given = parser.parse_args()
    chosen = [reader_named(name) for name in given.readers] or list(READERS)
    if given.only is not None:
        for reader in chosen:
            _once(reader, given.only)
        return
    is_guided = guided.is_here() and not given.no_guide
    print("guided by atheris" if is_guided else "not guided: atheris is not installed")
    print(f"{'reader':20}" + "".join(f"{name:>10}" for name in _COLUMNS), flush=True)
    bad = 0
    for reader in chosen:
        if reader.needs and find_spec(reader.needs) is None:
            print(f"{reader.name:20}  {reader.needs} is not installed", flush=True)
            continue
        row = _guided(reader, given.inputs) if is_guided else None
        unguided = given.inputs // 2 if row else given.inputs
        plain = run(reader.name, given.first, given.first + unguided, found=FOUND / reader.name)
        bad += _print(plain, row)
        if given.out:
            write_row(given.out, plain)
    sys.exit(bool(bad))


def _guided(reader: Reader, inputs: int) -> Row | None:
    """Half of the inputs, divided among the parts; none where a runtime has all the branches."""
    if reader.runs:
        return None
    with tempfile.TemporaryDirectory() as folder:
        reader.seed(Path(folder))
        parts = sorted({str(each.relative_to(folder)) for each in reader.parts_of(Path(folder))})
    whole = Row(reader.name)
    for part in parts:
        row = run(reader.name, 0, inputs // 2 // len(parts), part, found=FOUND / reader.name)
        whole.counts += row.counts
        whole.findings += row.findings
        whole.peak = max(whole.peak, row.peak)
        whole.seconds += row.seconds
    return whole


def _print(row: Row, guided_row: Row | None) -> int:
    if guided_row is not None:
        row.counts += guided_row.counts
        row.findings += guided_row.findings
        row.peak = max(row.peak, guided_row.peak)
        row.seconds += guided_row.seconds
    kinds = ("refused", "accepted", "crash", "hang", "code")
    figures = [row.inputs, *(row.counts[kind] for kind in kinds)]
    figures[3] += row.counts["memory"]
    figures += [row.peak >> 20, round(row.seconds)]
    print(f"{row.reader:20}" + "".join(f"{each:>10,}" for each in figures), flush=True)
    shown: set[str] = set()
    for number, outcome in row.findings:
        if outcome not in shown and len(shown) < 12:
            shown.add(outcome)
            print(f"    {number}: {outcome}", flush=True)
    return len(row.findings)


def write_row(page: Path, row: Row) -> None:
    """Put what came of a reader into the table of a page, where rows of other readers stay."""
    generated = GeneratedPage(page, "make fuzz")
    rows = {cells[0]: cells for cells in generated_rows(generated)}
    figures = (row.inputs, row.counts["refused"], row.counts["accepted"], len(row.findings))
    figures += (round(row.seconds), row.peak >> 20)
    rows[row.reader] = (row.reader, *(f"{each:,}" for each in figures))
    ordered = tuple(rows[each.name] for each in READERS if each.name in rows)
    headers = tuple((name, number > 0) for number, name in enumerate(_PAGE_COLUMNS))
    generated.update([Grid("", headers, ordered)])


def _once(reader: Reader, number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(reader.name, Path(folder) / "input")
        part, content = trial.damaged(number)
        FOUND.mkdir(parents=True, exist_ok=True)
        kept = FOUND / f"{reader.name}-{number}-{part.name}"
        kept.write_bytes(content)
        print(f"{kept}: {trial.outcome(part, content)}")
        trial.read(part, content)


if __name__ == "__main__":
    main()
