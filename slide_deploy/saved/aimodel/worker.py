"""Run one task on an asset, in a child process that Apple's library may end.

    python -m slide_deploy.saved.aimodel.worker describe PROGRAM
    python -m slide_deploy.saved.aimodel.worker compile ASSET FOLDER [intermediates]

It writes one JSON object to stdout: the result, or a clause under "error". The library's messages
go to stderr.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from slide_deploy.saved.aimodel.folder import PROGRAM
from slide_deploy.saved.aimodel.program import (
    UnreadableAsset,
    description,
    entry_of,
    load,
    port_names,
    walk,
)

_OUTPUT = "coreai.output"


def compile_program(asset: Path, folder: Path, with_intermediates: bool) -> dict[str, Any]:
    """Compile the asset in a folder for the library's own runtime; see ``apart.compiled``."""
    from coreai._compiler._mlir_libs._coreaiIR._bindings.compiler import (
        compile_to_binary,
        serialize_module,
    )

    module = load(asset / PROGRAM)
    entry, graphs = entry_of(module)
    outputs = {name: name for name in port_names(entry, "res_attrs")}
    if with_intermediates:
        outputs = _add_outputs(module, entry, graphs)
    compile_to_binary(module=module, output_directory=folder, enable_debug_info=False)
    serialize_module(module=module, path=folder / "main-universal.odix")
    return {"outputs": outputs}


def _add_outputs(module: Any, entry: Any, graphs: dict[str, Any]) -> dict[str, str]:
    """Make all floating-point values that the entry's operators compute outputs."""
    from coreai._compiler import ir

    found, _, outputs = walk(entry, graphs)
    names = port_names(entry, "res_attrs")
    given = dict(zip(names, outputs, strict=True))
    with module.context, ir.Location.unknown():
        end = list(entry.regions[0].blocks[0].operations)[-1]
        values = list(end.operands)
        for name, value in found.computed:
            if found.values[name][0].startswith("float") and value not in values:
                given[f"intermediate{len(values)}"] = name
                values.append(value)
        with ir.InsertionPoint(end):
            ir.Operation.create(_OUTPUT, operands=values)
        end.operation.erase()
        taken = ir.FunctionType(entry.attributes["function_type"].value).inputs
        kind = ir.FunctionType.get(list(taken), [value.type for value in values])
        entry.attributes["function_type"] = ir.TypeAttr.get(kind)
        entry.attributes["res_attrs"] = ir.ArrayAttr.get(
            [ir.DictAttr.get({"coreai.name": ir.StringAttr.get(name)}) for name in given]
        )
    return given


def main(arguments: list[str]) -> int:
    """Run one task; see the module."""
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task, path, *rest = arguments
    held: dict[str, Any]
    try:
        if task == "describe":
            held = description(Path(path))
        else:
            held = compile_program(Path(path), Path(rest[0]), rest[1:] == ["intermediates"])
    except UnreadableAsset as error:
        held = {"error": str(error)}
    with results:
        json.dump(held, results)
    return 0


if __name__ == "__main__":
    # Exit without waiting for the library's threads.
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
