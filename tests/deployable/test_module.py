"""Modules in Python: supported and refused inputs and outputs, and unchanged state."""

from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import slide_deploy
from slide_deploy import InputError
from slide_deploy.backends import open_file
from slide_deploy.deployable.feature_map_sizes import set_feature_map_sizes
from slide_deploy.deployable.module import deployable_of
from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from slide_deploy.verification.cases import verification_cases
from tests.support import FORMATS

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution followed by a function of it."""

    def __init__(self, then: Callable[["Net", Tensor, Tensor], Any] | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.register_buffer("kept", torch.zeros(()))
        self.then = then or (lambda net, x, y: y)

    def forward(self, x: Tensor) -> Any:
        return self.then(self, x, self.conv(x))


@dataclass
class Detections:
    boxes: Tensor
    scores: Tensor


def _counts(net: Net, x: Tensor, y: Tensor) -> Tensor:
    net.kept += 1
    return y + net.kept


def _exits(net: Net, x: Tensor, y: Tensor) -> Tensor:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (_counts, "outputs other values when it is run again .* or keep values for the next call"),
        (lambda net, x, y: y + torch.rand(1), "outputs other values when it is run again"),
        (lambda net, x, y: net.conv(x.mul_(2)), r"changes its input x in place.*x\.clone\(\)"),
        (lambda net, x, y: (y, x[:, :0]), r"without elements at 1, \(1, 0, 8, 8\)"),
        (lambda net, x, y: y * float("nan"), "nothing but NaN and infinity"),
        (lambda net, x, y: y.to_sparse(), "sparse tensor"),
        (lambda net, x, y: {"a": y + 1j}, "complex numbers at a"),
        (_exits, r"cannot be run .* with x \(1, 3, 8, 8\) \(SystemExit: 3, .*test_module.py"),
    ],
)
def test_behaviour_that_no_file_supports_is_refused(
    then: Callable[[Net, Tensor, Tensor], Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        deployable_of(Net(then), IMAGE)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (5, "of type int: give a tensor"),
        ("image", "of type str: give a tensor"),
        ({IMAGE}, "of type set: give a tensor"),
        (np.array(["a"]), "input x is of type str"),
        (np.zeros(3, dtype=[("a", "f4")]), "input x is of type void"),
        (IMAGE.to_sparse(), "input x is of type sparse tensor"),
        (IMAGE.to("meta"), "input x is of type tensor on the meta device"),
        (IMAGE + 1j, "input x is of type complex64"),
        (torch.quantize_per_tensor(IMAGE, 0.1, 0, torch.quint8), "input x is of type quint8"),
        (IMAGE[:0], "input x has no elements"),
    ],
)
def test_unusable_inputs_are_refused_by_name(inputs: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        deployable_of(Net(), inputs)


@pytest.mark.parametrize(
    "inputs",
    [
        IMAGE.numpy()[:, ::-1],
        IMAGE.numpy().astype(">f4"),
        IMAGE.numpy().astype("f8"),
        IMAGE.bfloat16(),
        IMAGE.transpose(2, 3),
        IMAGE.clone().requires_grad_(),
        [IMAGE],
        (each for each in [IMAGE]),
    ],
)
def test_inputs_of_every_layout_and_precision_are_converted(inputs: Any) -> None:
    found = deployable_of(Net(), inputs)
    assert found.inputs[0].example.dtype == np.float32
    assert found.inputs[0].example.dtype.isnative


@pytest.mark.parametrize(
    ("open_sizes", "words"),
    [
        (["x"], r"is not a mapping of mappings.*\{'x': \{0: 'batch'\}\}"),
        ({"x": [2, 3]}, "is not a mapping of mappings"),
        ({"x": {2: 5}}, "names axis 2 of x 5: use letters"),
        ({"x": {2: "my height"}}, "names axis 2 of x 'my height': use letters"),
        ({"x": {"2": "height"}}, "has no axis 2"),
    ],
)
def test_invalid_open_sizes_are_refused_by_name(open_sizes: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        deployable_of(Net(), IMAGE, open_sizes=open_sizes)


def test_names_that_are_not_strings_are_refused() -> None:
    with pytest.raises(InputError, match="3 is not a name"):
        deployable_of(Net(), IMAGE, output_names=[3])  # type: ignore[list-item]


def test_dataclasses_and_mappings_of_other_classes_are_outputs() -> None:
    assert deployable_of(Net(lambda net, x, y: Detections(y, y + 1)), IMAGE).outputs == (
        "boxes",
        "scores",
    )
    found = deployable_of(Net(lambda net, x, y: UserDict(deep=[{"a": y}, y + 1])), IMAGE)
    assert found.outputs == ("deep_0_a", "deep_1")


def test_a_tensor_may_be_output_twice_and_passed_through(tmp_path: Path) -> None:
    model = Net(lambda net, x, y: {"one": y, "two": y, "image": x, "flag": x > 0, "same": x > 0})
    result = slide_deploy.export(model, IMAGE, to=list(FORMATS), out=tmp_path)
    assert result.passed, result.problems
    assert [file.format for file in result.files] == ["onnx", "openvino", "coreml"]
    for file in result.files:
        assert file.verification.outputs == ("one", "two", "image", "flag", "same")


def test_logits_that_are_masked_by_infinity_are_compared(tmp_path: Path) -> None:
    model = Net(lambda net, x, y: y.masked_fill(x[:, :1] > 0, -torch.inf))
    result = slide_deploy.export(model, IMAGE, to="onnx", out=tmp_path)
    assert result.passed, result.problems


def test_a_network_that_takes_no_noise_is_verified_on_its_example_values(tmp_path: Path) -> None:
    model = Net(lambda net, x, y: net.conv(x.log()))
    example = IMAGE.abs() + 0.1
    found = deployable_of(model, example, open_sizes={"x": {2: "height"}})
    cases = verification_cases(found.inputs, found.sizes)
    assert [case.name for case in cases] == ["example", "noise", "height of 9", "height of 7"]
    assert all(np.isin(case.inputs["x"], example.numpy()).all() for case in cases)
    result = slide_deploy.export(model, example, to="onnx", out=tmp_path)
    assert result.passed, result.problems


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.head(self.table(ids.reshape(-1, 7))) * mask.unsqueeze(-1)


def test_every_row_of_an_embedding_table_is_tried() -> None:
    ids, mask = torch.zeros(1, 7, dtype=torch.long), torch.ones(1, 7, dtype=torch.long)
    found = deployable_of(Words(), (ids, mask))
    tried = [case.inputs for case in verification_cases(found.inputs)]
    assert len(np.unique([each["ids"] for each in tried])) > 7
    assert {each["ids"].dtype for each in tried} == {np.dtype(np.int64)}
    # A mask is not an index, so it keeps its values.
    assert np.unique([each["mask"] for each in tried]).tolist() == [1]


def test_global_settings_of_torch_do_not_affect_files(tmp_path: Path) -> None:
    model = Net(lambda net, x, y: y * torch.linspace(0, 1, 8))
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
            result = slide_deploy.export(model, IMAGE, to="onnx", out=tmp_path)
            verdict = slide_deploy.verify(tmp_path / "net.onnx", model, IMAGE)
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert result.passed, result.problems
    assert verdict.passed
    assert torch.equal(before, torch.get_rng_state())


def test_slide_attention_may_be_called_by_keyword() -> None:
    class Host(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = SlideAttention(SlideAttentionConfig(8, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.attn(x=x)[0]

    found = deployable_of(Host(), torch.randn(1, 8, 6, 7))
    set_feature_map_sizes(found, found.model)
    assert found.model.attn.resolution == (6, 7)  # type: ignore[union-attr]


def test_a_network_that_uses_the_inside_of_an_attention_is_refused(tmp_path: Path) -> None:
    class Host(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = SlideAttention(SlideAttentionConfig(8, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.attn(x)[0] * self.attn.dep_conv.weight.mean()

    words = "cannot be run once its slide attentions are folded .*has no attribute 'dep_conv'"
    with pytest.raises(InputError, match=words):
        slide_deploy.export(Host(), torch.randn(1, 8, 6, 7), to="onnx", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_batch_or_open_size_is_verified_without_options(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
            return {"p": self.conv(a).mean((2, 3)), "q": self.conv(b)}

    model, small, large = Two(), torch.randn(2, 3, 8, 8), torch.randn(2, 3, 12, 8)
    slide_deploy.export(
        model,
        (small, large),
        to="onnx",
        out=tmp_path,
        open_sizes={"a": {2: "height"}, "b": {2: "rows"}},
    )
    verdict = slide_deploy.verify(tmp_path / "two.onnx", model, (small[:1], large[:1]))
    assert verdict.passed
    assert {case.batch for case in verdict.verification.cases} == {2}
    names = {case.name.partition(" ")[0] for case in verdict.verification.cases}
    assert {"height", "rows"} <= names


def test_outputs_are_compared_by_name_in_any_order(tmp_path: Path) -> None:
    model = Net(lambda net, x, y: {"p": y, "q": y + 1})
    slide_deploy.export(model, IMAGE, to="onnx", out=tmp_path)
    file = tmp_path / "net.onnx"
    assert open_file(file).outputs == ("p", "q")
    model.then = lambda net, x, y: {"q": y + 1, "z": y}
    assert slide_deploy.verify(file, model, IMAGE).passed
    for other in (lambda net, x, y: y, lambda net, x, y: (y, y + 1, y + 2)):
        model.then = other
        with pytest.raises(InputError, match="gives p, q and Net gives output"):
            slide_deploy.verify(file, model, IMAGE)


def test_built_in_policies_are_found_by_name(tmp_path: Path) -> None:
    model = Net(lambda net, x, y: y.double())  # float64, which both policies refuse
    out = tmp_path / "double"
    assert not slide_deploy.export(model, IMAGE, to="onnx", out=out, policy="portable").passed
    model = Net(lambda net, x, y: y.cumsum(1))
    result = slide_deploy.export(model, IMAGE, to="onnx", out=tmp_path, policy="portable")
    assert result.passed, result.problems
    assert slide_deploy.check(tmp_path / "net.onnx", "portable").passed
    with pytest.raises(InputError, match=r"nothing\.toml cannot be read"):
        slide_deploy.check(tmp_path / "net.onnx", "nothing.toml")


@pytest.mark.slow
def test_an_unused_input_and_a_boolean_one_are_kept(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor, mask: Tensor, unused: Tensor) -> Tensor:
            return self.conv(x) * mask.float()

    inputs = (IMAGE, IMAGE[:, :1] > 0, torch.zeros(2))
    for format in ("onnx", "openvino", "coreml"):
        result = slide_deploy.export(Masked(), inputs, to=format, out=tmp_path / format)
        assert result.passed, result.problems
        file = result.paths[format]
        assert [port.name for port in open_file(file).inputs] == ["x", "mask", "unused"]


def test_a_remark_reports_a_network_that_cannot_run_in_float64(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, image: Tensor) -> Tensor:
            return self.conv(image.float())

    result = slide_deploy.export(Fixed(), torch.randn(1, 3, 8, 8), to="onnx", out=tmp_path)
    assert result.passed
    assert any("compared with float32" in remark for remark in result.remarks)
