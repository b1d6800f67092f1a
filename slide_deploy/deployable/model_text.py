"""Parse the user's name of a network's factory: ``--model package.module:factory``."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class ModelText:
    """The two halves of ``package.module:factory`` or ``path/to/net.py:factory``.

    Attributes:
        text: the whole text.
        module: module or file, before the colon.
        attribute: factory, after the colon. It may be dotted: ``Net.small``.
    """

    text: str
    module: str
    attribute: str

    @classmethod
    def parse(cls, text: str) -> "ModelText":
        """Parse a text.

        Raises:
            InputError: if it does not have this form.
        """
        module, _, attribute = text.rpartition(":")
        names = attribute.split(".")
        if not module or not all(map(str.isidentifier, names)):
            raise InputError(
                f"--model {text} names no factory: give package.module:factory or "
                f"path/to/net.py:factory."
            )
        found = cls(text, module, attribute)
        if not found.is_file and not all(map(str.isidentifier, module.split("."))):
            raise InputError(
                f"--model {text}: {module} is not a valid module name: give package.module:factory "
                f"or path/to/net.py:factory."
            )
        return found

    @property
    def is_file(self) -> bool:
        """Whether the text names a file rather than a module."""
        separators = [each for each in (os.sep, os.altsep) if each]
        return self.module.endswith(".py") or any(each in self.module for each in separators)

    @property
    def stem(self) -> str:
        """Name of written files: the factory's name in snake case."""
        return snake_case(self.attribute.rpartition(".")[2])

    def file(self, folder: Path) -> Path | None:
        """Find the module's file in a folder without importing anything; None if it has none.

        Args:
            folder: folder that is searched for modules first.
        """
        if self.is_file:
            candidates = [folder / self.module]
        else:
            whole = folder.joinpath(*self.module.split("."))
            candidates = [whole / "__init__.py", whole.with_name(f"{whole.name}.py")]
        return next((each for each in candidates if each.is_file()), None)

    def sources(self, folder: Path) -> list[Path]:
        """List the Python files in a folder that may change what is built.

        For a module in a package these are all files of the outermost package, else all files
        beside the module.

        Args:
            folder: folder that is searched for modules first.
        """
        file = self.file(folder.resolve())
        if file is None:
            return []
        package = outermost_package(file)
        found = file.parent.glob("*.py") if package is None else package.rglob("*.py")
        return sorted(each for each in found if each.is_file())


def outermost_package(file: Path) -> Path | None:
    """Return the folder of the outermost package that contains a file; None without a package."""
    package = None
    folder = file.resolve().parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        package, folder = folder, folder.parent
    return package


def snake_case(name: str) -> str:
    """Convert a class name to a file name: "SlideNet" becomes "slide_net"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
