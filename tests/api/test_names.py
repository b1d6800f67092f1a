"""The public names and their arguments. A change of one needs a change of this file."""

import inspect
import pickle
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import slide_deploy

ROOT = Path(__file__).parents[2]

SIGNATURES = {
    "load": "path, *, weights='auto', entry=None, leave_out=(), image_size=None, window_size=None, "
    "keep_windows=False, resize_position_tables=False, heads=None, stripes=None, features=False, "
    "dynamic_batch=False, input_sizes=()",
    "fold": "model, inputs=None",
    "lower": "model, lowering='depthwise'",
    "export": "model, inputs=None, *, to=(), preset=None, out='exported', name=None, "
    "input_names=(), output_names=(), open_sizes=None, dynamic_batch=None, precision=None, "
    "delegate=None, calibration=None, max_drop=None, data=None, lowering=None, tune=False, "
    "features=False, embed_preprocessing=None, mean=None, "
    "deviation=None, input_layout=None, channel_order=None, labels=(), softmax=False, "
    "verify_on=(), policy=None, force=False, keep_failed=False, unproven=False, progress=False",
    "verify": "file, model=None, inputs=None, *, precision=None, calibration=None, target=None, "
    "locate=False",
    "check": "file, policy=None",
    "bench": "files, *, target=(), seconds=10.0, rounds=20, batch=1, streams=1, threads=None, "
    "pin=(), precision=None, shape=None, option=None, profile=False, sustained=0.0, "
    "accuracy=(), progress=False",
    "predict": "file, images, *, labels=None, top=5, image_size=None, output=None",
    "evaluate": "files, data, *, against=None, inputs=None, labels=(), image_size=None, "
    "output=None, sample=None, seed=0, batch=8, shard=None, progress=False",
    "merge_evaluations": "results",
}
# The attributes of each result.
RESULTS = {
    "Deployable": "call double examples files inputs model network normalisation open_names "
    "origin outputs processing reference sizes takes_images truth",
    "Certificate": "already_folded error folded left merged not_merged status",
    "ExportResult": "certificate explain file files manifest network passed paths problems "
    "raise_if_failed remarks to_dict",
    "ExportedFile": "format is_kept is_valid kept lowerings operators passed paths precision "
    "preprocessing price reference rewrites seconds sha256 size unproven verification "
    "verifications verified_on violations wrong_at",
    "FileVerdict": "first_divergence names_another_source network passed path precision "
    "raise_if_failed to_dict verification",
    "Report": "errors format passed path policy unusable violations",
    "BenchResult": "milliseconds passed problems ratios run save to_dict",
    "EvaluationResult": "damaged raise_if_dropped record rows save to_dict",
    "Guess": "image index name output prepared probability",
}
OPTIONS = ("Lowering", "Policy")
ERRORS = ("SlideDeployError", "InputError", "MissingExtra", "CheckFailed")


def signature(function: typing.Callable[..., object]) -> str:
    shown, stars = [], ""
    for each in inspect.signature(function).parameters.values():
        if each.kind is each.KEYWORD_ONLY and not stars:
            stars = "*"
            shown.append(stars)
        is_needed = each.default is each.empty
        shown.append(each.name if is_needed else f"{each.name}={each.default!r}")
    return ", ".join(shown)


def test_the_public_names_do_not_change() -> None:
    assert set(dir(slide_deploy)) == {"__version__", *SIGNATURES, *RESULTS, *OPTIONS, *ERRORS}


@pytest.mark.parametrize("name", SIGNATURES)
def test_public_signatures_do_not_change(name: str) -> None:
    assert signature(getattr(slide_deploy, name)) == SIGNATURES[name]


@pytest.mark.parametrize("name", SIGNATURES)
def test_functions_have_types_and_document_every_argument(name: str) -> None:
    function = getattr(slide_deploy, name)
    parameters = inspect.signature(function).parameters
    assert all(each.annotation is not each.empty for each in parameters.values())
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    for each in parameters:
        assert f"        {each}: " in (function.__doc__ or ""), f"{name} does not explain {each}"


@pytest.mark.parametrize("name", RESULTS)
def test_attributes_of_results_do_not_change(name: str) -> None:
    record = getattr(slide_deploy, name)
    fields = set(record.__dataclass_fields__)
    public = fields | {each for each in dir(record) if not each.startswith("_")}
    assert public == set(RESULTS[name].split())
    assert record.__dataclass_params__.frozen


def test_all_errors_share_a_base_class() -> None:
    for name in ERRORS[1:]:
        assert issubclass(getattr(slide_deploy, name), slide_deploy.SlideDeployError)
    assert issubclass(slide_deploy.MissingExtra, slide_deploy.InputError)
    assert not issubclass(slide_deploy.CheckFailed, slide_deploy.InputError)


def test_errors_can_be_pickled() -> None:
    for error in (slide_deploy.MissingExtra("openvino", "openvino"), slide_deploy.InputError("x")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'exprot'"):
        slide_deploy.exprot  # noqa: B018
    with pytest.raises(ImportError):
        from slide_deploy import exprot  # noqa: F401


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_imports_quickly_and_without_anything_heavy() -> None:
    code = (
        "import sys, time\n"
        "for name in ('torch', 'numpy', 'rich', 'typer', 'exporters', 'benchmarks'):\n"
        "    sys.modules[name] = None\n"
        "start = time.perf_counter()\n"
        "import slide_deploy\n"
        "seconds = time.perf_counter() - start\n"
        "assert 'export' in dir(slide_deploy)\n"
        "print(seconds)"
    )
    # The best of a few runs, because other processes may use the CPU.
    assert min(float(run(code)) for _ in range(3)) < 0.2


def test_files_are_checked_and_run_without_torch() -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import slide_deploy\n"
        "slide_deploy.check, slide_deploy.predict, slide_deploy.bench, slide_deploy.verify\n"
        "slide_deploy.evaluate, slide_deploy.merge_evaluations\n"
        "slide_deploy.Report, slide_deploy.BenchResult, slide_deploy.InputError\n"
        "try: slide_deploy.check('nothing.onnx')\n"
        "except slide_deploy.InputError as error: print(error)"
    )
    assert "nothing.onnx does not exist" in run(code)


def test_the_wheel_ships_the_types() -> None:
    for package in slide_deploy.PACKAGES:
        assert (ROOT / package / "py.typed").read_bytes() == b""


@pytest.mark.slow
def test_a_type_checker_sees_the_types(tmp_path: Path) -> None:
    script = tmp_path / "theirs.py"
    script.write_text(
        "import slide_deploy\n"
        "from torch import nn\n"
        "result = slide_deploy.export(nn.Identity(), to='onnx')\n"
        "reveal_type(result)\n"
        "reveal_type(slide_deploy.fold(nn.Identity()))\n"
        "slide_deploy.export(nn.Identity(), to=3)\n"
        "slide_deploy.exprot\n"
    )
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert 'Revealed type is "exporters.outcome.ExportResult"' in done.stdout, done.stdout
    assert "slide_deploy.folding.model.Certificate" in done.stdout
    assert 'theirs.py:6: error: Argument "to"' in done.stdout
    assert "theirs.py:7: error: Module has no attribute" in done.stdout
