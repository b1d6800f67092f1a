"""Completes a ``.tflite`` file of litert-torch: names, metadata, and each weight stored once.

The converter numbers inputs and outputs, and stores a weight once for each use. It writes a matmul
of two activations, for a single image and a single head, as FULLY_CONNECTED. XNNPACK supports that
operator only with constant weights, so it becomes BATCH_MATMUL again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

IDENTIFIER = b"TFL3"
SIGNATURE = b"serving_default"
# Runtimes map the file into memory and use weights in place.
_ALIGNMENT = 16


def completed(
    content: bytes, inputs: Sequence[str], outputs: Sequence[str], metadata: Mapping[str, str]
) -> bytes:
    """Return the content of a file with names and metadata.

    Args:
        content: the content of a file of litert-torch.
        inputs: names of the network's inputs, in order.
        outputs: names of the network's outputs, in order.
        metadata: texts to store, by key.
    """
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
    _name(schema, model, inputs, outputs)
    _share_buffers(model)
    _restore_batch_matmuls(schema, model)
    for key, text in metadata.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = text.encode()
        entry.name, entry.buffer = key, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or ()), entry]
    model.description = b"slide-deploy"
    return _packed(schema, model)


def _name(schema: Any, model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give inputs and outputs the names of the network, in the graph and its signature."""
    main = model.subgraphs[0]
    # The signature has the order of the network; that of the graph may differ.
    (signature,) = model.signatureDefs
    signature.signatureKey = SIGNATURE
    for wanted, entries in ((inputs, signature.inputs), (outputs, signature.outputs)):
        for name, entry in zip(wanted, entries, strict=True):
            entry.name = name
            main.tensors[entry.tensorIndex].name = name


def _share_buffers(model: Any) -> None:
    """Let tensors with equal bytes share a buffer; buffer 0 means that there is no data."""
    kept: list[Any] = [model.buffers[0]]
    places: dict[bytes, int] = {}
    for tensor in (each for graph in model.subgraphs for each in graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) == 0:
            tensor.buffer = 0
            continue
        digest = hashlib.sha256(data).digest()
        if digest not in places:
            places[digest] = len(kept)
            kept.append(model.buffers[tensor.buffer])
        tensor.buffer = places[digest]
    for entry in model.metadata or ():
        kept.append(model.buffers[entry.buffer])
        entry.buffer = len(kept) - 1
    model.buffers = kept


def _restore_batch_matmuls(schema: Any, model: Any) -> None:
    """Write FULLY_CONNECTED with a computed second operand, x y^T, as BATCH_MATMUL."""
    linear, matmul = schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.BATCH_MATMUL
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    for graph in model.subgraphs:
        for operator in graph.operators:
            if codes[operator.opcodeIndex] != linear or len(operator.inputs) < 2:
                continue
            left, right, *bias = (int(place) for place in operator.inputs)
            ranks = {len(graph.tensors[place].shape) for place in (left, right)}
            is_plain = operator.builtinOptions.fusedActivationFunction == 0
            if graph.tensors[right].buffer or max(bias, default=-1) != -1:
                continue
            if ranks == {2} and is_plain:
                options = schema.BatchMatMulOptionsT()
                options.adjX, options.adjY = False, True
                operator.opcodeIndex = _code_of(schema, model, codes, matmul)
                operator.inputs = operator.inputs[:2]
                operator.builtinOptionsType = schema.BuiltinOptions.BatchMatMulOptions
                operator.builtinOptions = options


def _code_of(schema: Any, model: Any, codes: list[int], number: int) -> int:
    """Return the index of an operator code in a file; the code is added if it is missing."""
    if number not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1
        model.operatorCodes.append(code)
        codes.append(number)
    return codes.index(number)


def _packed(schema: Any, model: Any) -> bytes:
    import flatbuffers

    class Buffer(schema.BufferT):
        """A buffer with aligned data: the schema requires it, its generated code ignores it."""

        def Pack(self, builder: Any) -> Any:  # noqa: N802
            if self.data is None:
                return super().Pack(builder)
            data = bytes(self.data)
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            place = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, place)
            return schema.BufferEnd(builder)

    for buffer in model.buffers:
        buffer.__class__ = Buffer
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
