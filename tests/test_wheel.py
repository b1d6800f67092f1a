"""The wheel works on its own, without the checkout on the path."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import GOLDEN

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the built wheel is installed into: no tests and no studies are in it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(folder.glob("slide_deploy-*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"slide_deploy", "exporters", "benchmarks"}
    assert {f"{top}/py.typed" for top in tops} <= set(names)
    target = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return target


@pytest.mark.slow
def test_the_installed_command_exports(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    script = installed / "bin" / "slide-deploy"
    where = "import slide_deploy, exporters, benchmarks as b\n"
    where += "print(slide_deploy.__file__, exporters.__file__, b.__file__)"
    for command in (
        [sys.executable, "-c", where],
        [
            sys.executable,
            str(script),
            "export",
            str(GOLDEN / "slide_swin_nano.pth"),
            "--to",
            "onnx",
            "--out",
            str(tmp_path),
        ],
        [sys.executable, str(script), "doctor"],
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert str(ROOT) + os.sep + "slide_deploy" not in done.stdout
        assert "another one is imported" not in done.stdout
    assert (tmp_path / "slide_swin_nano.onnx").exists()
