"""Parse untrusted XML: no document types, no entities, a bounded number and depth of elements."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.readers.limits import MAX_STRUCTURE_BYTES
from slide_deploy.saved.untrusted import damaged

# Slide-Swin-T takes 14,000; an element takes some 200 bytes in memory.
MAX_ELEMENTS = 500_000
MAX_DEPTH = 64
_CHUNK = 1 << 20


def parse_xml(path: Path) -> ElementTree.Element:
    """Parse a file and return its root element.

    Raises:
        InputError: it cannot be read, is not XML, is too large, or has a document type.
    """
    builder = _Builder(path)
    try:
        with path.open("rb") as stream:
            read = 0
            while chunk := stream.read(_CHUNK):
                read += len(chunk)
                if read > MAX_STRUCTURE_BYTES:
                    raise _untrusted(path, f"is an XML file of more than {read >> 20} MiB")
                builder.parser.Parse(chunk, False)
            builder.parser.Parse(b"", True)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check its name.") from error
    except (expat.ExpatError, ValueError) as error:
        raise damaged(path, f"it is not whole XML ({error})") from error
    return builder.tree.close()


class _Builder:
    """Passes the parser's events to a tree builder, within limits."""

    def __init__(self, path: Path) -> None:
        self.tree = ElementTree.TreeBuilder()
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self.tree.data
        self.parser.StartDoctypeDeclHandler = self._refuse_document_type
        self._path = path
        self._depth = self._count = 0

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._count += 1
        if self._count > MAX_ELEMENTS or self._depth > MAX_DEPTH:
            raise _untrusted(
                self._path,
                f"has more than {MAX_ELEMENTS:,} elements or nests them more than {MAX_DEPTH} deep",
            )
        self.tree.start(tag, attributes)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        self.tree.end(tag)

    def _refuse_document_type(self, *declaration: object) -> NoReturn:
        # Only a document type can declare entities, which can expand a small file without limit.
        raise _untrusted(self._path, "declares a document type")


def _untrusted(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} {what}, which no OpenVINO file does: do not use it, and get the file from a "
        f"source that you trust."
    )
