"""No reader of files from strangers is missing in the list of those that are fuzzed."""

import ast
from pathlib import Path

from slide_deploy import PACKAGES
from tests.fuzz.seeds import ROOT

# What parses bytes or texts that may come from a file, by the names that are called.
_PARSERS = frozenset(
    [
        "json.loads",
        "json.load",
        "tomllib.loads",
        "tomllib.load",
        "parse_toml",
        "csv.reader",
        "Image.open",
        "np.load",
        "zipfile.ZipFile",
        "tarfile.open",
        "safe_open",
        "load_file",
        "expat.ParserCreate",
        "read_json",
        "parse_json",
        "read_text",
        "read_bytes",
        "pickletools.genops",
        "core.read_model",
        "onnx.load",
        "np.memmap",
        "mmap.mmap",
        "messages.Model.FromString",
    ]
)
# Module that parses: the reader whose inputs reach it, or why none needs to.
REACHED = {
    "benchmarks/artifact.py": "manifest",
    "benchmarks/measuring/plan_file.py": "bundle's plan",
    "studies/network_files.py": "networks",
    "benchmarks/result.py": "result",
    "benchmarks/suite.py": "suite",
    "exporters/manifest.py": "manifest",
    "exporters/quantisation/calibration.py": "calibration",
    "slide_deploy/saved/aimodel/folder.py": "coreai",
    "slide_deploy/checkpoint/file_kind.py": "torch",
    "slide_deploy/checkpoint/hub.py": "hub folder",
    "slide_deploy/checkpoint/read.py": "safetensors",
    "slide_deploy/checkpoint/safetensors_file.py": "safetensors",
    "slide_deploy/checkpoint/torch_file.py": "torch",
    "slide_deploy/checkpoint/unpickle.py": "pickle",
    "slide_deploy/evaluation/result_file.py": "evaluation",
    "slide_deploy/files/validation.py": "result",
    "slide_deploy/graph_checks/declarations.py": "onnx",
    "slide_deploy/graph_checks/policy.py": "policy",
    "slide_deploy/graph_checks/readers/xml_tree.py": "openvino",
    "slide_deploy/images/collection.py": "picture",
    "slide_deploy/images/description.py": "image description",
    "slide_deploy/images/labels.py": "labels",
    "slide_deploy/images/picture_table.py": "picture table",
    "slide_deploy/images/pictures.py": "picture",
    "slide_deploy/saved/mlpackage/folder.py": "coreml",
    "slide_deploy/saved/mlpackage/protobuf.py": "coreml",
    "slide_deploy/saved/pte/companion.py": "executorch",
    "slide_deploy/saved/pte/program.py": "executorch",
    "slide_deploy/verification/reference_outputs/reference_file.py": "reference outputs",
    "slide_deploy/saved/untrusted.py": "onnx",
    "slide_deploy/tuning/store.py": "tuning table",
    # Runtimes' own parsers.
    "slide_deploy/backends/onnxruntime/large_models.py": "run onnx",
    "slide_deploy/backends/openvino/intermediates.py": "run openvino",
    "slide_deploy/backends/openvino/network.py": "run openvino",
}
# What a program of ours wrote a moment ago or ships, what the system says, and what users type.
OWN = (
    "benchmarks/bundle.py",
    "benchmarks/calibration.py",
    "benchmarks/measuring/memory.py",
    "benchmarks/precisions/",
    "benchmarks/web/single_file.py",
    "exporters/quantisation/",
    "slide_deploy/saved/aimodel/apart.py",
    "slide_deploy/backends/onnxruntime/profile.py",
    "slide_deploy/backends/web/",
    "slide_deploy/deployable/factory.py",
    "slide_deploy/machine/",
    "exporters/coreml_package.py",
    "exporters/onnx_ends.py",
    "slide_deploy/files/moves.py",
    "slide_deploy/files/reading.py",
    "studies/quantisation/nncf_in_onnx.py",
    "studies/sizes/exported.py",
    "studies/trust/",
)


def parsing_modules() -> set[str]:
    found = set()
    for package in (*PACKAGES, "studies"):
        for path in (ROOT / package).rglob("*.py"):
            calls = {
                ast.unparse(node.func)
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Call)
            }
            names = calls | {each.rpartition(".")[2] for each in calls if each.count(".") == 1}
            if names & _PARSERS:
                found.add(path.relative_to(ROOT).as_posix())
    return found


def test_every_module_that_parses_is_reached_by_a_reader() -> None:
    unknown = {
        each
        for each in parsing_modules()
        if each not in REACHED and not each.startswith(OWN) and Path(each).name != "hashing.py"
    }
    assert unknown == set(), "add it to tests/fuzz/readers.py, and here"


def test_no_module_is_listed_that_parses_no_more() -> None:
    assert set(REACHED) - parsing_modules() == set()


def test_every_reader_that_is_named_here_is_in_the_list() -> None:
    from tests.fuzz.readers import READERS

    assert set(REACHED.values()) <= {each.name for each in READERS}
