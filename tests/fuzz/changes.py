"""Ways to damage the bytes of a file: some know nothing of it, some its grammar.

A change takes a source of random numbers and the content of a valid file, and gives other content.
"""

import io
import json
import pickletools
import random
import re
import struct
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

Change = Callable[[random.Random, bytes], bytes]

_BOUNDARIES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
_DEPTH = 100_000


def flip_bytes(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 64)) if content else 0):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 4, 16)) if content else 0):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def erase(rng: random.Random, content: bytes) -> bytes:
    start, size = rng.randrange(len(content) + 1), rng.randrange(1, 200)
    blank = bytes(rng.choice((0, 255)) for _ in content[start : start + size])
    return content[:start] + blank + content[start + size :]


def splice(rng: random.Random, content: bytes) -> bytes:
    """A stretch is moved or copied to another place."""
    start, size = rng.randrange(len(content) + 1), rng.randrange(1, 400)
    piece = content[start : start + size]
    if rng.random() < 0.5:
        content = content[:start] + content[start + size :]
    place = rng.randrange(len(content) + 1)
    return content[:place] + piece + content[place:]


def repeat(rng: random.Random, content: bytes) -> bytes:
    """A stretch stands there thousands of times."""
    start, size = rng.randrange(len(content) + 1), rng.randrange(1, 64)
    piece = content[start : start + size]
    return content[:start] + piece * rng.choice((2, 50, 5_000)) + content[start:]


def another_length(rng: random.Random, content: bytes) -> bytes:
    """A number of two, four or eight bytes, which may be a length, is one at a boundary."""
    size = rng.choice((2, 4, 8))
    # Formats that are mapped keep their numbers at multiples of their size.
    place = rng.randrange(max(1, len(content) - size)) // rng.choice((1, 4)) * rng.choice((1, 4))
    number = rng.choice((*_BOUNDARIES, len(content), rng.randrange(2**16)))
    order = rng.choice(("little", "big"))
    packed = (number & (256**size - 1)).to_bytes(size, order)  # type: ignore[arg-type]
    return content[:place] + packed + content[place + size :]


_NUMBERS = (b"0", b"-1", b"1", b"7", b"4294967296", b"9" * 20, b"9" * 5000, b"x", b"", b"1e9")
_STRANGE_NUMBERS = (*_NUMBERS, b"1e999", b"NaN", b"-Infinity", b"0.5", b"nan", b"inf", b"true")


def alter_numbers(rng: random.Random, content: bytes) -> bytes:
    """Numbers that are written as text; elsewhere digits in names."""
    found = list(re.finditer(rb"\d+", content))
    for match in sorted(rng.sample(found, min(len(found), rng.choice((1, 3)))), key=_backwards):
        number = rng.choice(_STRANGE_NUMBERS)
        content = content[: match.start()] + number + content[match.end() :]
    return content


def exchange_names(rng: random.Random, content: bytes) -> bytes:
    """One word for another of the same length: names, operators, attributes change places."""
    words = list(re.finditer(rb"[A-Za-z_]{3,}[A-Za-z_0-9.]*", content))
    if not words:
        return flip_bytes(rng, content)
    first = rng.choice(words)
    size = first.end() - first.start()
    second = rng.choice([word for word in words if word.end() - word.start() == size])
    return content[: first.start()] + second.group() + content[first.end() :]


_TEXTS: tuple[bytes, ...] = (
    b"\x1b]0;title\x07",
    b"\x1b[2J",
    "\u202e".encode(),
    b"[bold]",
    b"[/]",
    b"<script>",
    b"</script>",
    b"../../../etc/passwd",
    b"/dev/zero",
    b"C:\\x",
    b"\0",
    b"\xff\xfe",
    b"\\ud800",
    b"\r\n",
    b"|" * 50,
    b"%s%n",
    b"__class__",
    b"x" * 10_000,
)
_OPENERS = (b"[", b'{"a":', b"{a=", b"(", b'["', b"[[", b"a." * 2, b"<a>")


def strange_text(rng: random.Random, content: bytes) -> bytes:
    """A word is one that terminals, pages, paths or parsers take for something else."""
    words = list(re.finditer(rb"[A-Za-z_][A-Za-z_0-9.]*", content))
    text = rng.choice(_TEXTS)
    if not words:
        return content + text
    match = rng.choice(words)
    return content[: match.start()] + text + content[match.end() :]


def nest(rng: random.Random, content: bytes) -> bytes:
    """Something opens and opens."""
    places = [match.end() for match in re.finditer(rb"[\[{(=:,>]", content)] or [0]
    place = rng.choice(places)
    return (
        content[:place]
        + rng.choice(_OPENERS) * rng.choice((3, 70, 5_000, _DEPTH))
        + (content[place:] if rng.random() < 0.5 else b"")
    )


def change_lines(rng: random.Random, content: bytes) -> bytes:
    """Lines are lost, repeated or exchanged."""
    lines = content.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    action = rng.choice(("lose", "repeat", "exchange", "cut"))
    if action == "lose":
        del lines[first]
    elif action == "repeat":
        lines.insert(second, lines[first])
    elif action == "exchange":
        lines[first], lines[second] = lines[second], lines[first]
    else:
        lines[first] = lines[first][: rng.randrange(len(lines[first]) + 1)]
    return b"\n".join(lines)


_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**400,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\x1b[2J\u202e",
    "\ud800",
    "../../etc/passwd",
    "/dev/zero",
    "x" * 10_000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"__class__": {"__init__": 1}},
)


def json_tree(rng: random.Random, content: bytes) -> bytes:
    """A value somewhere inside is another, lost, or there twice."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return strange_text(rng, content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        tree = _altered(rng, tree)
    text = json.dumps(tree)
    if rng.random() < 0.1:
        text = re.sub(r'("\w+": )', r"\1 0, \1", text, count=1)  # a key that is there twice
    return text.encode("utf-8", "surrogatepass")


def _altered(rng: random.Random, tree: Any) -> Any:
    if not tree or not isinstance(tree, dict | list) or rng.random() < 0.05:
        # A copy: what is changed in one place, or in one input, must not change in another.
        chosen = deepcopy(rng.choice((*_VALUES, tree)))
        return chosen if rng.random() < 0.95 else [chosen] * 1000
    key: Any = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
    action = rng.random()
    if action < 0.8:
        tree[key] = _altered(rng, tree[key])
    elif action < 0.9:
        del tree[key]
    elif isinstance(tree, dict):
        tree[rng.choice(("", "x", "\x1b[2J", "version", str(key) + " "))] = tree[key]
    else:
        tree.insert(rng.randrange(len(tree) + 1), tree[key])
    return tree


# Operations of pickles that build, call and refer, with what they need.
_OPERATIONS: tuple[bytes, ...] = (
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"ccollections\nOrderedDict\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"ccopyreg\n_reconstructor\n",
    *(
        bytes([each])
        for each in b"(.012NR}])etaubdsloQ\x81\x85\x86\x87\x88\x89\x92\x93\x94\x8f\x90\x91"
    ),
    b"P0\n",
    b"\x82\x01",
    b"I" + b"9" * 40 + b"\n",
    b"L" + b"9" * 5000 + b"L\n",
    b"\x8a\xff" + b"\x7f" * 255,
    b"J\xff\xff\xff\xff",
    b"r\xff\xff\xff\x7f",
    b"h\x01",
    b"j\xff\xff\x00\x00",
    b"X\xff\xff\xff\xff",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x96\xff\xff\xff\xff\x00\x00\x00\x00",
    b"\x8c\x02os\x8c\x06system\x93",
    b"G\x7f\xf0\x00\x00\x00\x00\x00\x00",
    b"(ios\nsystem\n",
    b"g1\n",
    b"p1\n",
    b"V\\u0041\n",
    b"S'x'\n",
)


_MOST_REPEATED = 1 << 22


def pickle_operations(rng: random.Random, content: bytes) -> bytes:
    """Operations are lost, repeated, exchanged, or others stand between them."""
    try:
        places = [place for _, _, place in pickletools.genops(content) if place is not None]
    except Exception:
        return flip_bytes(rng, content)
    pieces = [content[a:b] for a, b in zip(places, [*places[1:], len(content)], strict=True)]
    for _ in range(rng.choice((1, 2, 6))):
        at = rng.randrange(len(pieces))
        action = rng.random()
        if action < 0.5:
            pieces.insert(at, rng.choice(_OPERATIONS))
        elif action < 0.65:
            pieces[at] = rng.choice(_OPERATIONS)
        elif action < 0.8 and len(pieces) > 1:
            del pieces[at]
        elif action < 0.9:
            pieces.insert(at, rng.choice(pieces))
        else:
            # An input of gigabytes would try this harness, and no reader.
            most = max(1, _MOST_REPEATED // max(1, len(pieces[at])))
            pieces[at:at] = [pieces[at]] * min(rng.choice((10, 3000)), most)
    return b"".join(pieces)


_MEMBERS = ("../x", "/etc/x", "C:\\x", "a\0b", "x/" * 400, "", "data.pkl", "archive/data.pkl", "é")


def zip_members(rng: random.Random, content: bytes) -> bytes:
    """An archive with a member that is changed, renamed, compressed, there twice or a link."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(item.filename, archive.read(item)) for item in archive.infolist()]
    except Exception:
        return flip_bytes(rng, content)
    if not members:  # an earlier change lost the only one
        return flip_bytes(rng, content)
    name, data = members[at := rng.randrange(len(members))]
    pickles = [place for place, (each, _) in enumerate(members) if each.endswith(".pkl")]
    action = rng.choice(
        ("pickle", "pickle", "bytes", "rename", "twice", "lose", "compress", "link")
    )
    if action == "pickle" and pickles:
        name, data = members[at := rng.choice(pickles)]
        members[at] = (name, pickle_operations(rng, data))
    elif action == "bytes":
        members[at] = (name, rng.choice((flip_bytes, truncate, repeat))(rng, data))
    elif action == "rename":
        members[at] = (rng.choice(_MEMBERS), data)
    elif action == "twice":
        members.append((name, rng.choice(members)[1]))
    elif action == "lose":
        del members[at]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for place, (name, data) in enumerate(members):
            item = zipfile.ZipInfo(name)
            if place == at and action == "compress":
                item.compress_type, data = zipfile.ZIP_DEFLATED, bytes(rng.choice((10, 1 << 24)))
            if place == at and action == "link":
                item.external_attr, data = 0o120777 << 16, b"/etc/passwd"
            archive.writestr(item, data)
    return out.getvalue()


def zip_fields(rng: random.Random, content: bytes) -> bytes:
    """A size, an offset or a method in an archive's own tables lies."""
    found = list(re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06|\x06\x06|\x06\x07)", content))
    if not found:
        return another_length(rng, content)
    place = rng.choice(found).end() + rng.randrange(42)
    size = rng.choice((2, 4))
    number = rng.choice((*_BOUNDARIES, rng.randrange(len(content)))) & (256**size - 1)
    return content[:place] + number.to_bytes(size, "little") + content[place + size :]


def safetensors_header(rng: random.Random, content: bytes) -> bytes:
    """Tensors that overlap, lie outside, or have other shapes, types, names and entries."""
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= len(content) - 8:
        return flip_bytes(rng, content)
    header = content[8 : 8 + length]
    changed = rng.choice((json_tree, json_tree, alter_numbers, exchange_names, nest, strange_text))
    header = changed(rng, header)
    stated = len(header) if rng.random() < 0.9 else rng.choice(_BOUNDARIES)
    return stated.to_bytes(8, "little") + header + content[8 + length :]


_DOCTYPES = (
    b'<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
    b'<!DOCTYPE net SYSTEM "file:///etc/passwd">',
    b'<?xml-stylesheet href="file:///etc/passwd"?>',
)


def xml_tree(rng: random.Random, content: bytes) -> bytes:
    """Elements and attributes are lost, repeated, moved or others."""
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError):
        return strange_text(rng, content)
    elements = list(root.iter())
    for _ in range(rng.choice((1, 2, 5))):
        parent, other = rng.choice(elements), rng.choice(elements)
        action = rng.random()
        if action < 0.5 and other.attrib:
            key = rng.choice(list(other.attrib))
            words = [each.get(key, "x") for each in elements if key in each.attrib]
            strange = ("", "-1", "99999999999", "x", "NaN", "1,2,3", "é" * 500, "../x", "/dev/zero")
            other.set(key, rng.choice((*strange, rng.choice(words), rng.choice(words))))
        elif action < 0.6 and other.attrib:
            del other.attrib[rng.choice(list(other.attrib))]
        elif action < 0.7 and len(parent):
            parent.remove(rng.choice(list(parent)))
        elif action < 0.8 and len(parent):
            parent.append(rng.choice(list(parent)))
        elif action < 0.9:
            other.text = rng.choice(("", "-5", "many", "1" * 40, "\n"))
        else:
            other.tag = rng.choice(elements).tag
    text = ElementTree.tostring(root)
    if rng.random() < 0.03:
        text = rng.choice(_DOCTYPES) + text
    return text


def png_chunks(rng: random.Random, content: bytes) -> bytes:
    """A chunk of a PNG file says something else, with the right checksum."""
    if not content.startswith(b"\x89PNG"):
        return another_length(rng, content)
    chunks, place = [], 8
    while place + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    if not chunks:
        return another_length(rng, content)
    kind, data = chunks[at := rng.randrange(len(chunks))]
    if kind == b"IHDR" and rng.random() < 0.5:
        side = rng.choice((1, 1000, 30_000, 2**31 - 1))
        data = struct.pack(">II", side, rng.choice((1, side))) + data[8:]
    else:
        data = rng.choice((flip_bytes, truncate, another_length))(rng, data)
    chunks[at] = (kind, data)
    if rng.random() < 0.2:
        bomb = zlib.compress(bytes(1 << 22))
        kind = rng.choice((b"iTXt", b"zTXt", b"iCCP", b"eXIf"))
        chunks.insert(1, (kind, b"name\0\0" + bomb))
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _backwards(match: re.Match[bytes]) -> int:
    return -match.start()


BYTES: tuple[Change, ...] = (flip_bytes, flip_bits, truncate, erase, splice, repeat, another_length)
TEXT: tuple[Change, ...] = (
    *(flip_bytes, truncate, splice, repeat, change_lines),
    *(alter_numbers, exchange_names, strange_text, nest),
)
JSON: tuple[Change, ...] = (json_tree, json_tree, json_tree, *TEXT)
NAMES: tuple[Change, ...] = (*BYTES, alter_numbers, exchange_names, strange_text)
