"""Attention written out in products and a softmax, so that its scale can go into weights.

    scaled_dot_product_attention(q, k, v, mask) = softmax(scale * q k^T + mask) v

As one operator, converters scale queries and keys apart in every run. A mask must be numbers that
are added, or a constant that says what is seen; then each query must see something. Causal masks of
open sizes, dropout and shared keys of several heads are left as they are.
"""

import torch
from torch import Tensor, ops
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import Call, layer_of, shape

aten = ops.aten


def rewrite(editor: Editor, report: PassReport) -> None:
    """Write attention out; see above."""
    for found in editor.calls("scaled_dot_product_attention"):
        why = _write(editor, found)
        if why is None:
            report.change(layer_of(found.node), "attention written out")
        else:
            report.refuse(layer_of(found.node), why)


def _write(editor: Editor, found: Call) -> str | None:
    """Write one attention out, or say why not."""
    node, arguments = found.node, found.arguments
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    if arguments["dropout_p"] or arguments.get("enable_gqa"):
        return "it drops weights, or its heads share keys"
    if len({len(shape(each)) for each in (query, key, value)}) != 1:
        return "queries, keys and values are of different ranks"
    mask: object = arguments["attn_mask"]
    if arguments["is_causal"]:
        rows, columns = shape(query)[-2], shape(key)[-2]
        if not isinstance(rows, int) or not isinstance(columns, int):
            return "its mask has an open size"
        seen = torch.ones(rows, columns, dtype=torch.bool).tril()
        mask = _added(editor, seen, query)
    elif isinstance(mask, Node) and mask.meta["val"].dtype == torch.bool:
        held = editor.weight(mask)
        if held is None or not bool(held.any(-1).all()):
            return "its mask is computed, or hides everything from a query"
        mask = _added(editor, held, query)
    scale = arguments.get("scale")
    if scale is None:
        features = shape(query)[-1]
        if not isinstance(features, int):
            return "its number of features is open"
        scale = features**-0.5
    if not isinstance(scale, (int, float)):
        return "its scale is computed"
    scaled = editor.insert(node, aten.mul.Tensor, query, float(scale))
    turned = editor.insert(node, aten.transpose.int, key, -2, -1)
    logits = editor.insert(node, aten.matmul.default, scaled, turned)
    if mask is not None:
        logits = editor.insert(node, aten.add.Tensor, logits, mask)
    weights = editor.insert(node, aten.softmax.int, logits, -1)
    editor.replace(node, editor.insert(node, aten.matmul.default, weights, value))
    editor.drop(node)
    return None


def _added(editor: Editor, seen: Tensor, query: Node) -> Node:
    """What hides what is not seen, as numbers that are added."""
    numbers = torch.zeros(seen.shape, dtype=query.meta["val"].dtype)
    return editor.constant(numbers.masked_fill(~seen, -torch.inf), "mask")
