"""Code that the user names is found, imported and called, and every failure is one sentence."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slide_deploy.deployable.model_text import ModelText
from slide_deploy.deployable.user_code import build
from slide_deploy.errors import InputError

NET = """
from torch import nn
BUILT = []
class Net(nn.Module):
    def __init__(self, dim=4):
        super().__init__()
        self.layer = nn.Linear(dim, dim)
    def forward(self, x):
        return self.layer(x)
    @classmethod
    def small(cls):
        return cls(2)
def build(dim, *, classes=3):
    return nn.Linear(dim, classes)
def nothing():
    Net()
def pair():
    return Net(), 1
ready = Net(5)
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user. Modules imported from it are removed afterwards."""
    before = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_net.py").write_text(NET)
    yield tmp_path
    for name in set(sys.modules) - set(before):
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def built(text: str, folder: Path, arguments: Any = None) -> nn.Module:
    return build(ModelText.parse(text), arguments, folder)


def refusal(text: str, folder: Path, arguments: Any = None) -> str:
    with pytest.raises(InputError) as error:
        built(text, folder, arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("module", ["own_net", "own_net.py", "./own_net.py"])
@pytest.mark.parametrize(
    ("factory", "arguments", "shape"),
    [
        ("Net", None, (4, 4)),
        ("Net", {"dim": 6}, (6, 6)),
        ("Net", [7], (7, 7)),
        ("Net.small", None, (2, 2)),
        ("ready", None, (5, 5)),
    ],
)
def test_a_factory_is_a_class_a_method_or_the_network_itself(
    module: str, factory: str, arguments: Any, shape: tuple[int, ...], folder: Path
) -> None:
    network = built(f"{module}:{factory}", folder, arguments)
    assert network.layer.weight.shape == shape


def test_a_factory_is_a_function_with_arguments(folder: Path) -> None:
    network = built("own_net:build", folder, {"dim": 2, "classes": 9})
    assert network.weight.shape == (9, 2)


def test_a_file_of_a_package_imports_its_siblings(folder: Path) -> None:
    inside = folder / "own_package" / "nets"
    inside.mkdir(parents=True)
    for each in (inside, inside.parent):
        (each / "__init__.py").write_text("")
    (inside.parent / "layers.py").write_text("from torch.nn import Linear\n")
    (inside / "net.py").write_text("from ..layers import Linear\ndef b(): return Linear(2, 3)\n")
    for text in ("own_package.nets.net:b", "own_package/nets/net.py:b"):
        assert built(text, folder).weight.shape == (3, 2)


def test_a_file_with_the_name_of_a_library_does_not_shadow_it(folder: Path) -> None:
    (folder / "torch.py").write_text("from own_net import Net\n")
    assert isinstance(built("torch.py:Net", folder), nn.Module)
    assert sys.modules["torch"] is torch
    sentence = refusal("torch:Net", folder)
    assert "torch is also the name of" in sentence and "torch.py:Net" in sentence


def test_a_folder_with_the_name_of_a_project_package_does_not_shadow_it(folder: Path) -> None:
    (folder / "exporters").mkdir()
    (folder / "exporters" / "__init__.py").write_text("")
    (folder / "exporters" / "net.py").write_text("from own_net import Net\n")
    sentence = refusal("exporters.net:Net", folder)
    assert "exporters/net.py:Net" in sentence
    assert isinstance(built("exporters/net.py:Net", folder), nn.Module)
    import exporters

    assert str(folder) not in str(exporters.__file__)


def test_random_weights_are_reproducible(folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, other = (built("own_net:Net", folder).layer.weight for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(torch.rand(1), expected)  # the caller's generator is unaffected


def test_prints_of_the_code_go_to_standard_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "loud.py").write_text("from own_net import Net\nprint('imported')\n")
    built("loud:Net", folder)
    out, err = capsys.readouterr()
    assert out == "" and "imported" in err


def test_a_module_does_not_see_this_programs_arguments(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["slide-deploy", "export", "--to", "onnx"])
    (folder / "reads.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--k')\n"
        "parser.parse_args()\nfrom own_net import Net\n"
    )
    assert isinstance(built("reads:Net", folder), nn.Module)
    assert sys.argv[0] == "slide-deploy"


@pytest.mark.parametrize("text", ["own_net", "own_net:", ":Net", "own net:Net", "own_net:a-b"])
def test_a_text_without_a_factory_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"package\.module:factory"):
        ModelText.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("missing_net:Net", ["there is no module missing_net"]),
        ("own_net.inner:Net", ["there is no module own_net.inner"]),
        ("missing_net.py:Net", ["there is no file", "missing_net.py"]),
        ("own_net:Nett", ["has no Nett", "but Net, build", "own_net.py"]),
        ("own_net:Net.large", ["has no large"]),
        ("own_net:number", ["is of type int"]),
        ("own_net:nothing", ["returns nothing", "instead of a torch.nn.Module"]),
        ("own_net:pair", ["returns a tuple", "instead of a torch.nn.Module"]),
        ("own_net:build", ["own_net:build(dim, *, classes=3)", "missing", "'dim'"]),
    ],
)
def test_wrong_names_are_refused(text: str, words: list[str], folder: Path) -> None:
    sentence = refusal(text, folder)
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("arguments", [[1, 2], {"size": 3}, {"dim": 3, "size": 3}])
def test_arguments_that_a_factory_does_not_take_are_refused(arguments: Any, folder: Path) -> None:
    assert "does not take these arguments" in refusal("own_net:build", folder, arguments)


def test_a_network_takes_no_arguments(folder: Path) -> None:
    assert "leave out --model-args" in refusal("own_net:ready", folder, {})


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import not_there\n", ["ModuleNotFoundError", "'not_there'", "bad.py:1", "install"]),
        ("def f(:\n", ["SyntaxError", "bad.py:1"]),
        ("\nraise ValueError('a\\nb')\n", ["ValueError: a, ", "bad.py:2"]),
        ("import sys\nsys.exit(3)\n", ["exits the program", "bad.py:2"]),
        ("import torch\ntorch.zeros(2) @ torch.zeros(3)\n", ["RuntimeError", "bad.py:2"]),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused(
    code: str, words: list[str], as_file: bool, folder: Path
) -> None:
    (folder / "bad.py").write_text(code)
    sentence = refusal("bad.py:f" if as_file else "bad:f", folder)
    for word in ["cannot be imported", *words]:
        assert word in sentence
    assert "bad" not in sys.modules


@pytest.mark.parametrize("end", ["raise RuntimeError('no')", "exit(1)", "assert 0", "1 / 0"])
def test_a_failing_factory_is_refused_with_the_last_line_of_the_users_code(
    end: str, folder: Path
) -> None:
    (folder / "bad.py").write_text(f"def build(dim=2):\n    {end}\n")
    sentence = refusal("bad:build", folder)
    assert "fails to build the network" in sentence and "bad.py:2" in sentence


def test_ctrl_c_inside_the_code_is_not_reported_as_its_error(folder: Path) -> None:
    (folder / "slow.py").write_text("def build():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        built("slow:build", folder)


def test_sources_are_all_files_that_may_change_the_network(folder: Path) -> None:
    inside = folder / "own_package" / "nets"
    inside.mkdir(parents=True)
    for file in (inside.parent / "__init__.py", inside / "__init__.py", inside / "net.py"):
        file.write_text("")
    (folder / "beside.py").write_text("")
    found = {each.name for each in ModelText.parse("own_net:Net").sources(folder)}
    assert found == {"own_net.py", "beside.py"}
    for text in ("own_package.nets.net:f", "own_package/nets/net.py:f", "own_package:f"):
        assert len(ModelText.parse(text).sources(folder)) == 3
    assert ModelText.parse("installed.module:f").sources(folder) == []


def test_output_of_child_processes_goes_to_standard_error(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "starts.py").write_text(
        "import os, subprocess\nfrom own_net import Net\n"
        "def build():\n    subprocess.run(['echo', 'child'])\n    os.write(1, b'raw')\n"
        "    return Net()\n"
    )
    built("starts:build", folder)
    print("ours")
    captured = capfd.readouterr()
    assert captured.out == "ours\n"
    assert "child" in captured.err and "raw" in captured.err


def test_the_current_folder_is_restored_after_the_code_changes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "moves.py").write_text(
        "import os\nfrom own_net import Net\ndef build():\n    os.chdir('/')\n    return Net()\n"
    )
    built("moves:build", folder)
    assert Path.cwd() == folder
