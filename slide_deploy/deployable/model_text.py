"""What builds a network, as the user names it: ``--model package.module:factory``."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class ModelText:
    """The two halves of ``package.module:factory`` or ``path/to/net.py:factory``.

    Attributes:
        text: both, as the user wrote them.
        module: the first half.
        attribute: the second half; dots lead to what is inside: ``Net.small``.
    """

    text: str
    module: str
    attribute: str

    @classmethod
    def parse(cls, text: str) -> "ModelText":
        """Read a text.

        Raises:
            InputError: if it is nothing of the kind.
        """
        module, _, attribute = text.rpartition(":")
        names = attribute.split(".")
        if not module or not all(map(str.isidentifier, names)):
            raise InputError(
                f"--model {text} names no factory: give a module and what builds the network in "
                f"it, as package.module:factory or path/to/net.py:factory."
            )
        found = cls(text, module, attribute)
        if not found.is_file and not all(map(str.isidentifier, module.split("."))):
            raise InputError(
                f"--model {text}: {module} is the name of no module: give package.module:factory, "
                f"or a file as path/to/net.py:factory."
            )
        return found

    @property
    def is_file(self) -> bool:
        """Whether the first half is the path of a file."""
        separators = [each for each in (os.sep, os.altsep) if each]
        return self.module.endswith(".py") or any(each in self.module for each in separators)

    @property
    def stem(self) -> str:
        """What files that are written from it are called: the factory's name in snake case."""
        return snake_case(self.attribute.rpartition(".")[2])

    def file(self, folder: Path) -> Path | None:
        """The file of the module below a folder, found without importing anything.

        Args:
            folder: that modules are looked for in first; None if it is not there.
        """
        if self.is_file:
            candidates = [folder / self.module]
        else:
            whole = folder.joinpath(*self.module.split("."))
            candidates = [whole / "__init__.py", whole.with_name(f"{whole.name}.py")]
        return next((each for each in candidates if each.is_file()), None)

    def sources(self, folder: Path) -> list[Path]:
        """The Python files below a folder that may change what is built.

        Of a module in a package these are all files of the outermost package, of another one all
        files beside it.

        Args:
            folder: that modules are looked for in first.
        """
        file = self.file(folder.resolve())
        if file is None:
            return []
        package = outermost_package(file)
        found = file.parent.glob("*.py") if package is None else package.rglob("*.py")
        return sorted(each for each in found if each.is_file())


def outermost_package(file: Path) -> Path | None:
    """The folder of the outermost package that a module's file belongs to; None without one."""
    package = None
    folder = file.resolve().parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        package, folder = folder, folder.parent
    return package


def snake_case(name: str) -> str:
    """A class's name as a file is called: "SlideNet" is "slide_net"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
