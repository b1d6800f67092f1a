"""A policy file is laid over the built-in one, and a mistake in it names its key."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from slide_deploy.errors import InputError
from slide_deploy.graph_checks import (
    BUILT_IN,
    built_in_policy,
    built_in_text,
    check_file,
    load_policy,
    standard_ops,
)
from tests.graph_checks.small_models import Files


def policy_file(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_policy_is_what_is_printed(tmp_path: Path, name: str) -> None:
    assert tomllib.loads(built_in_text(name))["name"] == built_in_policy(name).name == name
    assert load_policy(policy_file(tmp_path, built_in_text(name))) == built_in_policy(name)


def test_a_policy_may_be_based_on_either_built_in_one(tmp_path: Path) -> None:
    policy = load_policy(policy_file(tmp_path, 'base = "portable"\n[limits]\nrank = 4'))
    base = built_in_policy("portable")
    assert policy == replace(base, name="mine", limits=replace(base.limits, rank=4))


def test_an_empty_policy_is_the_built_in_one_under_its_own_name(tmp_path: Path) -> None:
    policy = load_policy(policy_file(tmp_path, ""))
    assert policy.name == "mine"
    assert policy.formats == standard_ops().formats


def test_a_key_replaces_that_of_the_built_in_policy(exported: Files, tmp_path: Path) -> None:
    policy = load_policy(policy_file(tmp_path, "[onnx]\nopset = [21, 22]"))
    assert policy.formats["onnx"].opset == (21, 22)
    assert policy.formats["onnx"].ir_version == standard_ops().formats["onnx"].ir_version
    broken = check_file(exported["onnx"], policy).violations
    assert [violation.rule for violation in broken] == ["SD003"]


def test_inputs_can_be_renamed(exported: Files, tmp_path: Path) -> None:
    text = '[[inputs]]\nname = "picture"\ntypes = ["float32"]\nshape = [1, 3, 64, 64]'
    broken = check_file(exported["onnx"], load_policy(policy_file(tmp_path, text))).violations
    assert {violation.node for violation in broken} == {"image", "picture"}


def test_a_policy_may_allow_files_without_declarations(exported: Files, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(exported["onnx"])
    del model.metadata_props[:]
    path = tmp_path / "anonymous.onnx"
    onnx.save(model, path)
    policy = load_policy(policy_file(tmp_path, '[structure]\ncensus = "if-declared"'))
    assert check_file(path, policy).violations == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[limits]\nrnak = 4", r"limits\.rnak is not a key here; did you mean rank\?"),
        ("colour = 4", r"colour is not a key here; known: name, limits, types"),
        (
            "[limits]\nrank = -1",
            r"limits\.rank should be greater than or equal to 0 or 'declared', and is -1",
        ),
        ("[limits]\nrank = true", r"limits\.rank should be a whole number or 'declared'"),
        ("limits = 4", r"limits should be a table, and is 4"),
        ("[onnx]\nopset = [22, 17]", r"onnx: opset must be \[lowest, highest\]"),
        ("[onnx]\nopset = [true, false]", r"onnx\.opset\[0\] should be a whole number"),
        ("[onnx]\nopste = [22, 17]", r"onnx\.opste is not a key here; did you mean opset\?"),
        ('[types]\nvalues = "float32"', r"types\.values should be a list, and is float32"),
        ("[constants]\nunused = 0", r"constants\.unused should be true or false, and is 0"),
        (
            '[dimensions]\nunnamed = ["tflite"]',
            r"dimensions\.unnamed\[0\] should be 'onnx', .*'coreai', and is tflite",
        ),
        ('[structure]\ncensus = "no"', r"census should be 'declared' or 'if-declared'"),
        ("[structure]\nnorm_epsilons = [nan]", r"mine\.toml: .* not JSON compliant"),
        ("base = 'strict'", r"base must be one of standard-ops, portable, and is 'strict'"),
        ("[features]\ntypes = []", r"features is not a key here"),
        ("[openvino.operators]\nopset = [1]", r"openvino\.operators\.opset\[0\] should be a text"),
        ("inputs = []\n[[outputs]]\nname = 'y'", r"outputs\[0\]\.types is missing; add it"),
        (
            "[[inputs]]\nname = 'x'\ntypes = []\nshape = ['channels']",
            r"inputs\[0\]\.shape may hold numbers and \*, batch, and holds channels",
        ),
        ("[[inputs]]\nname = 'x'\ntypes = []\nshape = [0]", r"inputs\[0\]\.shape\[0\] should be"),
        ("inputs = 3", r"inputs should be a list, and is 3"),
        ("name = ''", r"name: String should have at least 1 character"),
        ("rank 4", r"is not TOML .* --show-policy"),
    ],
)
def test_a_mistake_names_its_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_policy(policy_file(tmp_path, text))


def test_a_missing_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml cannot be read"):
        load_policy(tmp_path / "absent.toml")


def test_a_policy_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not TOML"):
        load_policy(tmp_path / "binary.toml")
