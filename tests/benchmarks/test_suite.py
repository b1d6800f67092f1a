from pathlib import Path

import pytest

from benchmarks.candidates import Sweep
from benchmarks.suite import members, read_suite
from slide_deploy.errors import InputError

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
CANDIDATE = 'name = "a"\ntargets = ["onnxruntime:cpu"]\n[[candidate]]\nname = "x"\n'


@pytest.mark.parametrize("path", sorted(PEERS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_suites_of_the_peers_are_read(path):
    assert len(read_suite(path).candidate) >= 3


def test_what_was_made_is_not_made_again(tmp_path):
    suite = tmp_path / "suite.toml"
    suite.write_text(CANDIDATE + 'attention = "32x8x8"\n')
    made = []

    def export(wanted, folder):
        made.append(wanted)
        path = folder / "attention.onnx"
        path.touch()
        return path

    for _ in range(2):
        (member,) = members(suite, tmp_path / "work", Sweep(), export)
    assert len(made) == 1
    assert member.candidate.name == "x on onnxruntime:cpu"
    assert Path(member.candidate.path).exists()


def test_what_other_code_made_is_made_again(tmp_path, monkeypatch):
    suite = tmp_path / "suite.toml"
    suite.write_text(CANDIDATE + 'attention = "32x8x8"\n')

    def path() -> str:
        def export(wanted, folder):
            (folder / "attention.onnx").touch()
            return folder / "attention.onnx"

        (member,) = members(suite, tmp_path / "work", Sweep(), export)
        return member.candidate.path

    first = path()
    assert path() == first
    monkeypatch.setattr("benchmarks.suite.code_digest", lambda: "another")
    assert path() != first


def test_an_export_that_fails_is_made_again(tmp_path):
    suite = tmp_path / "suite.toml"
    suite.write_text(CANDIDATE + 'attention = "32x8x8"\n')

    def fails(wanted, folder):
        raise InputError("no")

    def works(wanted, folder):
        (folder / "a.onnx").touch()
        return folder / "a.onnx"

    with pytest.raises(InputError):
        members(suite, tmp_path / "work", Sweep(), fails)
    assert members(suite, tmp_path / "work", Sweep(), works)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name = ", "not a readable suite"),
        ('name = "a"', "Field required"),
        (CANDIDATE, "give one of file, checkpoint, architecture and attention"),
        (CANDIDATE + 'file = "a"\nattention = "b"', "give one of"),
        (CANDIDATE + 'file = "a.onnx"\npeer = "swin"', "a peer is made of an architecture"),
        (CANDIDATE + 'file = "a.onnx"\ncolour = 1', "colour"),
        (CANDIDATE + 'file = "a.onnx"', "does not exist"),
        (CANDIDATE + 'checkpoint = "a.pth"', "does not exist"),
        (CANDIDATE + 'attention = "7x8x8"\npeer = "unfold"', "is no size"),
        (CANDIDATE + 'attention = "32x8x8"\npeer = "swim"', "no peer swim"),
    ],
)
def test_what_a_suite_does_not_say_is_refused(tmp_path, text, sentence):
    suite = tmp_path / "suite.toml"
    suite.write_text(text)
    with pytest.raises(InputError, match=sentence):
        members(suite, tmp_path / "work", Sweep(), lambda wanted, folder: folder)
