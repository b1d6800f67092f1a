"""The pydantic model of a policy file. ``standard-ops.toml`` explains the keys."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from slide_deploy.formats import format_names

ANY_SIZE = "*"

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Limits(_Strict):
    rank: Count | Literal["declared"]
    slide_attention_rank: Count
    unknown_rank: bool
    file_bytes: Count
    parameters: Count


class _Types(_Strict):
    values: list[str]
    constants: list[str]


class _Dimensions(_Strict):
    dynamic: list[str]
    unnamed: list[Literal[format_names()]]  # type: ignore[valid-type]


class _Constants(_Strict):
    unused: bool
    duplicates: bool
    duplicate_bytes: Count
    non_finite: bool


class _Structure(_Strict):
    census: Literal["declared", "if-declared"]
    control_flow: bool
    unfold: bool
    runtime_bugs: bool
    runtime_bugs_on: list[Literal["openvino:cpu", "web:webgpu"]]
    norm_epsilons: list[Fraction]


class _Interface(_Strict):
    name: Text
    types: list[str]
    shape: list[Annotated[int, Field(gt=0)] | str]


class FormatSection(_Strict):
    """Allowed versions and operators of one format."""

    ir_version: tuple[int, int]
    opset: tuple[int, int]
    operators: dict[str, list[str]]

    @model_validator(mode="after")
    def _lowest_first(self) -> "FormatSection":
        for key in ("ir_version", "opset"):
            lowest, highest = getattr(self, key)
            if lowest > highest:
                raise ValueError(f"{key} must be [lowest, highest]")
        return self


class PolicyFile(_Strict):
    """A whole policy, without the sections for formats."""

    name: Text
    limits: _Limits
    types: _Types
    dimensions: _Dimensions
    constants: _Constants
    structure: _Structure
    inputs: list[_Interface] | None = None
    outputs: list[_Interface] | None = None

    @model_validator(mode="after")
    def _open_sizes_are_known(self) -> "PolicyFile":
        # "batch" may name the first size even in a policy that allows no open size.
        known = {ANY_SIZE, "batch", *self.dimensions.dynamic}
        for side, interfaces in (("inputs", self.inputs), ("outputs", self.outputs)):
            for index, interface in enumerate(interfaces or ()):
                for size in interface.shape:
                    if isinstance(size, str) and size not in known:
                        raise ValueError(
                            f"{side}[{index}].shape may hold numbers and "
                            f"{', '.join(sorted(known))}, and holds {size}"
                        )
        return self
