"""Each rule finds damage that no other check must find; `tests/mutants` holds the damage."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from slide_deploy.graph_checks import RULES, Report, check_file, standard_ops
from tests.graph_checks.small_models import Files, branched_swin
from tests.mutants.catalogue import CATALOGUE
from tests.mutants.editing import edit_onnx
from tests.mutants.mutant import REFUSED


def test_every_rule_has_damage_or_a_test_of_its_own() -> None:
    """Policy limits are tested here, the known bugs in ``test_runtime_bugs``, and quantised files
    in ``quantised``.
    """
    damaged = {rule for mutant in CATALOGUE for rule in mutant.rule.values()} - {REFUSED}
    assert damaged | {"SD011", "SD012", "SD018", "SD022"} == {rule.id for rule in RULES}


def test_identifiers_are_unique_and_in_order() -> None:
    identifiers = [rule.id for rule in RULES]
    assert identifiers == sorted(set(identifiers))
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_half_precision_overflow_is_found(exported: Files, tmp_path: Path) -> None:
    def to_half(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        with np.errstate(over="ignore"):
            half = (1e6 * numpy_helper.to_array(tensor)).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))

    assert "SD015" in rules_broken(check_file(edit_onnx(exported["onnx"], tmp_path, to_half)))


def test_the_policy_limits_file_size_and_parameters(exported: Files) -> None:
    base = standard_ops()
    strict = replace(base, limits=replace(base.limits, file_bytes=1000, parameters=1000))
    for path in exported.values():
        assert rules_broken(check_file(path, strict)) == {"SD011", "SD012"}


def test_a_policy_of_static_shapes_refuses_an_open_batch(exported_dynamic: Files) -> None:
    base = standard_ops()
    static = replace(base, dimensions=replace(base.dimensions, dynamic=frozenset()))
    for path in exported_dynamic.values():
        assert rules_broken(check_file(path, static)) == {"SD009"}


def test_a_branched_model_is_refused(tmp_path: Path) -> None:
    report = check_file(branched_swin(tmp_path))
    messages = [found.message for found in report.violations if found.rule == "SD017"]
    assert any("two branches" in message for message in messages)
    # As trained, one convolution serves all heads and has the geometry of one head of 8 features;
    # the folded one of the second stage has 16 groups.
    assert any("groups 8" in text and "and the graph has 8" in text for text in messages)
    assert any("groups 16" in text and "and the graph has 0" in text for text in messages)


def test_many_violations_of_one_rule_are_cut_short(exported: Files) -> None:
    base = standard_ops()
    nothing_allowed = replace(base, types=replace(base.types, values=frozenset()))
    report = check_file(exported["onnx"], nothing_allowed)
    types = [violation for violation in report.violations if violation.rule == "SD007"]
    assert len(types) == 26
    assert types[-1].message == "There are more than 25 violations of this rule."


def rules_broken(report: Report) -> set[str]:
    return {violation.rule for violation in report.violations}
