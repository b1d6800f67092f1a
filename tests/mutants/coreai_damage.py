"""Damage to an exported Core AI asset: to its program, by Apple's classes, and to its files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slide_deploy.graph_checks.census import CENSUS_KEY
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.saved.aimodel.folder import METADATA
from tests.saved.aimodel.assets import hashed_again, operators, with_program

Edit = Callable[[Path], object]


def in_program(edit: Callable[[Any, Any], object]) -> Edit:
    """Damage to the graph that runs; see ``assets.with_program``."""

    def damage(asset: Path) -> None:
        source = asset.rename(asset.with_name("source.aimodel"))
        written = with_program(source, asset.parent / "edited", edit)
        written.rename(asset)

    return damage


def in_metadata(edit: Callable[[dict[str, Any]], object]) -> Edit:
    """Damage to the metadata of the asset."""

    def damage(asset: Path) -> None:
        held = json.loads((asset / METADATA).read_text())
        edit(held)
        (asset / METADATA).write_text(json.dumps(held))

    return damage


def constant(ir: Any, like: Any, text: str) -> Any:
    """A constant before an operator, as MLIR spells it: ``dense<3.0> : tensor<f32>``."""
    value = ir.Attribute.parse(text)
    kind = ir.Type.parse(text.rpartition(" : ")[2])
    with ir.InsertionPoint(like):
        made = ir.Operation.create("coreai.constant", results=[kind], attributes={"value": value})
    return made.results[0]


def in_place_of(ir: Any, old: Any, kind: str, operands: list[Any]) -> None:
    """Replace an operator by one of another kind."""
    with ir.InsertionPoint(old):
        made = ir.Operation.create(
            f"coreai.{kind}", results=[old.results[0].type], operands=operands
        )
    old.results[0].replace_all_uses_with(made.results[0])
    old.operation.erase()


def detour(ir: Any, behind: Any, steps: list[tuple[str, str, list[str]]]) -> None:
    """Insert operators after an operator, given by kinds, types and constants."""
    value = behind.results[0]
    block = behind.operation.block
    after = list(block.operations)
    following = after[after.index(behind) + 1]
    readers = [use.owner for use in value.uses]
    with ir.InsertionPoint(following):
        for kind, type, constants in steps:
            others = [constant(ir, following, text) for text in constants]
            made = ir.Operation.create(
                f"coreai.{kind}", results=[ir.Type.parse(type)], operands=[value, *others]
            )
            value = made.results[0]
    for reader in readers:
        for place, operand in enumerate(reader.operands):
            if operand == behind.results[0]:
                reader.operands[place] = value


def _first(graph: Any, kind: str, index: int = 0) -> Any:
    return operators(graph, kind)[index]


def unlisted_operator(graph: Any, ir: Any) -> None:
    gelu = _first(graph, "gelu")
    in_place_of(ir, gelu, "sinh", [gelu.operands[0]])


def relu_for_gelu(graph: Any, ir: Any) -> None:
    for gelu in operators(graph, "gelu"):
        in_place_of(ir, gelu, "relu", [gelu.operands[0]])


def residual_subtracted(graph: Any, ir: Any) -> None:
    for kind in ("decomposable.broadcasting_add", "add"):
        for add in operators(graph, kind):
            constants = [each for each in add.operands if "constant" in str(each.owner)[:40]]
            if not constants:
                sub = kind.replace("add", "sub")
                in_place_of(ir, add, sub, list(add.operands))
                return
    raise AssertionError("no residual")


def softmax_over_another_axis(graph: Any, ir: Any) -> None:
    softmax = _first(graph, "softmax")
    softmax.operands[1] = constant(ir, softmax, "dense<1> : tensor<si32>")


def epsilon(number: str) -> Callable[[Any, Any], None]:
    """All normalisations of a size have another epsilon, and declare it."""

    def edit(graph: Any, ir: Any) -> None:
        module = graph.operation.parent.regions[0].blocks[0]
        composites = [each for each in module.operations if "composite_decl" in each.attributes]
        for composite in composites:
            for held in operators(composite, "constant"):
                if str(held.results[0].type) == "tensor<f32>":
                    held.attributes["value"] = ir.Attribute.parse(f"dense<{number}> : tensor<f32>")
            stated = str(composite.attributes["composite_decl"])
            changed = stated.replace("9.99999974E-6", number)
            composite.attributes["composite_decl"] = ir.Attribute.parse(changed)

    return edit


def renamed(attribute: str) -> Callable[[Any, Any], None]:
    """Rename an input, ``arg_attrs``, or an output, ``res_attrs``."""

    def edit(graph: Any, ir: Any) -> None:
        name = ir.StringAttr.get("other")
        graph.attributes[attribute] = ir.ArrayAttr.get([ir.DictAttr.get({"coreai.name": name})])

    return edit


def _sizes(value: Any) -> str:
    return "x".join(map(str, value.type.shape))


def through(type: str) -> Callable[[Any, Any], None]:
    """A value is cast to another type and back."""

    def edit(graph: Any, ir: Any) -> None:
        gelu = _first(graph, "gelu")
        sizes = _sizes(gelu.results[0])
        steps = [(type, []), ("f32", [])]
        detour(ir, gelu, [("cast", f"tensor<{sizes}x{kind}>", held) for kind, held in steps])

    return edit


def in_doubles(graph: Any, ir: Any) -> None:
    """GELU in float64. A pair of casts alone would be removed when the asset is saved."""
    gelu = _first(graph, "gelu")
    sizes = _sizes(gelu.results[0])
    _around(ir, gelu, "cast", [f"tensor<{sizes}xf64>", f"tensor<{sizes}xf32>"], [[], []])


def rank_6(graph: Any, ir: Any) -> None:
    """GELU in rank 6. A pair of reshapes alone would be removed as well."""
    gelu = _first(graph, "gelu")
    sizes = [int(size) for size in gelu.results[0].type.shape]
    shapes = [[1] * (6 - len(sizes)) + sizes, sizes]
    types = [f"tensor<{'x'.join(map(str, shape))}xf32>" for shape in shapes]
    _around(
        ir,
        gelu,
        "reshape",
        types,
        [[f"dense<{each}> : tensor<{len(each)}xui32>"] for each in shapes],
    )


def _around(ir: Any, gelu: Any, kind: str, types: list[str], constants: list[list[str]]) -> None:
    """Insert one operator before and one after, with their result types."""
    inner, outer = (ir.Type.parse(text) for text in types)
    held = [[constant(ir, gelu, text) for text in texts] for texts in constants]
    with ir.InsertionPoint(gelu):
        before = ir.Operation.create(
            f"coreai.{kind}", results=[inner], operands=[gelu.operands[0], *held[0]]
        )
        made = ir.Operation.create("coreai.gelu", results=[inner], operands=[before.results[0]])
        behind = ir.Operation.create(
            f"coreai.{kind}", results=[outer], operands=[made.results[0], *held[1]]
        )
    gelu.results[0].replace_all_uses_with(behind.results[0])
    gelu.operation.erase()


def clipped(graph: Any, ir: Any) -> None:
    gelu = _first(graph, "gelu")
    type = f"tensor<{_sizes(gelu.results[0])}xf32>"
    text = "dense<5.0e-1> : tensor<f32>"
    detour(ir, gelu, [("decomposable.broadcasting_minimum", type, [text])])


def values_read_the_keys(graph: Any, ir: Any) -> None:
    convolutions = operators(graph, "conv2d")
    pairs = [
        (one, other)
        for one in convolutions
        for other in convolutions
        if one.operands[0] != other.operands[0]
        and one.operands[0].type == other.operands[0].type
        and one.operands[1].type == other.operands[1].type
    ]
    one, other = pairs[0]
    other.operands[0] = one.operands[0]


def border_of_ones(graph: Any, ir: Any) -> None:
    pad = _first(graph, "pad")
    pad.operands[2] = constant(ir, pad, "dense<1.0> : tensor<f32>")


def border_replicated(graph: Any, ir: Any) -> None:
    for pad in operators(graph, "pad"):
        stated = str(pad.attributes["padding_mode"])
        pad.attributes["padding_mode"] = ir.Attribute.parse(stated.replace("constant", "replicate"))


def map_transposed(graph: Any, ir: Any) -> None:
    """Height and width are exchanged before the tokens."""
    for transpose in operators(graph, "transpose"):
        if len(transpose.results[0].type.shape) == 4:
            sizes = [int(size) for size in transpose.results[0].type.shape]
            if sizes[1] == sizes[2] and sizes[3] != sizes[1]:
                transpose.operands[1] = constant(
                    ir, transpose, "dense<[0, 3, 2, 1]> : tensor<4xui32>"
                )
                return
    raise AssertionError("no map becomes tokens")


def truncated(asset: Path) -> None:
    content = (asset / "main.mlirb").read_bytes()
    (asset / "main.mlirb").write_bytes(content[: len(content) // 2])
    hashed_again(asset)


def one_byte(asset: Path) -> None:
    content = bytearray((asset / "main.mlirb").read_bytes())
    content[len(content) // 2] ^= 1
    (asset / "main.mlirb").write_bytes(content)


def without_hash(asset: Path) -> None:
    (asset / "main.hash").unlink()


def without_census(held: dict[str, Any]) -> None:
    del held["creatorDefinedMetadata"][CENSUS_KEY]


def other_precision(held: dict[str, Any]) -> None:
    held["creatorDefinedMetadata"][PRECISION_KEY] = "float16"


def of_the_future(held: dict[str, Any]) -> None:
    held["assetVersion"] = "9.0"
