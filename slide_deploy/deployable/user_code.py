"""Imports what the user named and calls it; nothing is imported that was not named."""

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from slide_deploy import PACKAGES
from slide_deploy.deployable.model_text import ModelText, outermost_package
from slide_deploy.deployable.reasons import is_users, reason_of
from slide_deploy.errors import InputError
from slide_deploy.process import interruption

# Names in a message.
_MOST_OFFERED = 5


def build(model: ModelText, arguments: list[Any] | dict[str, Any] | None, folder: Path) -> Any:
    """Import what a text names and build the network.

    What the code prints goes to stderr, and it sees no arguments of this program's own. Random
    numbers of torch start from seed 0, so that a network with random weights is the same each time.

    Args:
        model: what was named.
        arguments: of the factory, by name or in order; None where there are none.
        folder: where modules are looked for first, and where paths start.

    Returns:
        The module that the factory gave.

    Raises:
        InputError: if something is not there or fails, or if the outcome is no module.
    """
    with _as_a_script(model, folder):
        module = _tried(model, folder, lambda: _imported(model, folder))
        found = _attribute(model, module)
        if isinstance(found, nn.Module):
            if arguments is not None:
                raise InputError(
                    f"{model.text} is a network already, which takes no arguments: leave out "
                    f"--model-args, or name what builds it."
                )
            return found
        if not callable(found):
            raise InputError(
                f"{model.text} is of type {type(found).__name__}: name a function or a class that "
                f"builds the network, or the network itself."
            )
        torch.manual_seed(0)  # once more: only the first import may have drawn numbers
        built = _called(model, found, arguments)
    if isinstance(built, nn.Module):
        return built
    given = "nothing" if built is None else f"a {type(built).__name__}"
    raise InputError(
        f"{model.text} gives {given} and no torch.nn.Module: let it return the network."
    )


@contextlib.contextmanager
def _as_a_script(model: ModelText, folder: Path) -> Iterator[None]:
    """What a script of the user's would find: its folder among the paths, no arguments.

    The current folder is what it was afterwards: paths of this program's own start there.
    """
    for name in PACKAGES:  # ours stay ours, whatever folders of these names the user has
        importlib.import_module(name)
    before = sys.argv
    sys.argv = [model.module]
    try:
        with (
            _first_on_path(folder.resolve()),
            contextlib.chdir(Path.cwd()),
            _prints_on_stderr(),
            interruption.unswallowed(),
            interruption.tearing(is_users),
            torch.random.fork_rng(devices=[]),
        ):
            torch.manual_seed(0)
            yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _prints_on_stderr() -> Iterator[None]:
    """Lead what Python prints, and what libraries and other programs write, to standard error."""
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as restored:
        with contextlib.suppress(OSError):  # a process may have no standard output
            own = os.dup(1)
            restored.callback(os.close, own)
            os.dup2(2, 1)
            restored.callback(os.dup2, own, 1)
        yield


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Look for modules in a folder first, and last from then on.

    What the network imports when it runs is found, and takes the place of nothing of ours.
    """
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have taken it out
            sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _imported(model: ModelText, folder: Path) -> ModuleType:
    if model.is_file:
        return _from_file(model, folder / model.module)
    top = model.module.partition(".")[0]
    if top in PACKAGES:
        raise InputError(
            f"--model {model.text}: {top} is a package of slide-deploy itself: name your own as a "
            f"file, {model.module.replace('.', '/')}.py:{model.attribute}."
        )
    module = importlib.import_module(model.module)
    own, found = model.file(folder), getattr(module, "__file__", None)
    if own is not None and found is not None and own.resolve() != Path(found).resolve():
        raise InputError(
            f"--model {model.text}: {model.module} is also the name of {found}, which is loaded "
            f"already: name your own as {own.relative_to(folder)}:{model.attribute}."
        )
    return module


def _from_file(model: ModelText, file: Path) -> ModuleType:
    if not file.is_file():
        raise InputError(f"--model {model.text}: there is no file {file}: check its path.")
    file = file.resolve()
    known = (each for each in sys.modules.values() if getattr(each, "__file__", "") == str(file))
    if module := next(known, None):
        return module
    package = outermost_package(file)
    root = file.parent if package is None else package.parent
    with _first_on_path(root):
        parts = file.relative_to(root).with_suffix("").parts
        names = parts[:-1] if parts[-1] == "__init__" else parts
        if package is None or parts[0] in PACKAGES or not all(map(str.isidentifier, names)):
            return _executed(file)
        return importlib.import_module(".".join(names))  # so that its relative imports work


def _executed(file: Path) -> ModuleType:
    """A module of a file, under its own name, or under another where something else has that."""
    name = file.stem
    elsewhere = [path for path in sys.path if path != str(file.parent)]
    while name in sys.modules or PathFinder.find_spec(name, elsewhere):
        name = f"{name}_"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _tried(model: ModelText, folder: Path, load: Callable[[], ModuleType]) -> ModuleType:
    """Import a module; whatever goes wrong becomes a sentence.

    Raises:
        InputError: if something does.
    """
    try:
        return load()
    except InputError:
        raise
    except ModuleNotFoundError as error:
        name = error.name or ""
        if name and not model.is_file and f"{model.module}.".startswith(f"{name}."):
            raise InputError(
                f"--model {model.text}: there is no module {name} in {folder.resolve()} or among "
                f"what is installed: check its name, or name its file as "
                f"path/to/net.py:{model.attribute}."
            ) from error
        raise InputError(
            f"--model {model.text} cannot be imported ({reason_of(error)}): install "
            f"{name or 'what it needs'} where slide-deploy is installed."
        ) from error
    except (Exception, SystemExit) as error:  # the user's code, any error
        raise InputError(
            f"--model {model.text} cannot be imported ({_ending(error)}): a module must import by "
            f"itself; what it runs belongs below if __name__ == '__main__'."
        ) from error


def _attribute(model: ModelText, module: ModuleType) -> Any:
    found: Any = module
    for name in model.attribute.split("."):
        try:
            found = getattr(found, name)
        except (Exception, SystemExit) as error:  # a module may compute its attributes
            why = "" if isinstance(error, AttributeError) else f" ({_ending(error)})"
            offered = _offered(module, name) if found is module else ""
            raise InputError(
                f"--model {model.text}: {_where(module)} has no {name}{why}{offered}: check the "
                f"name behind the colon."
            ) from error
    return found


def _where(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return f"{module.__name__} ({file})" if file else module.__name__


def _offered(module: ModuleType, wanted: str) -> str:
    """What a module defines itself that could build a network, the likeliest names first."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (isinstance(value, nn.Module) or getattr(value, "__module__", "") == module.__name__)
        and callable(value)
    ]
    near = difflib.get_close_matches(wanted, names, n=_MOST_OFFERED)
    ordered = list(dict.fromkeys((*near, *names)))
    more = f" and {len(names) - _MOST_OFFERED} more" if len(names) > _MOST_OFFERED else ""
    return f", but {', '.join(ordered[:_MOST_OFFERED])}{more}" if names else ""


def _called(
    model: ModelText, factory: Callable[..., Any], arguments: list[Any] | dict[str, Any] | None
) -> Any:
    args = arguments if isinstance(arguments, list) else []
    kwargs = arguments if isinstance(arguments, dict) else {}
    signature = None
    with contextlib.suppress(TypeError, ValueError):  # some builtins have none
        signature = inspect.signature(factory)
    if signature is not None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(
                f"{model.text}{_takes(signature)} cannot be called so ({error}): give its "
                f"arguments as --model-args '{{\"name\": value}}'."
            ) from error
    try:
        return factory(*args, **kwargs)
    except (Exception, SystemExit) as error:  # the user's code, any error
        raise InputError(
            f"{model.text} fails to build the network ({_ending(error)}): check its arguments, "
            f"which --model-args gives."
        ) from error


def _takes(signature: inspect.Signature) -> str:
    """The parameters of a factory, without their types."""
    empty = inspect.Parameter.empty
    bare = [each.replace(annotation=empty) for each in signature.parameters.values()]
    return str(inspect.Signature(bare))


def _ending(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the program, {reason_of(error)}"
    return reason_of(error)
