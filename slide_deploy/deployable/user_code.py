"""Import the module that the user names, and call the factory in it."""

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

# Largest number of names suggested in a message.
_MAX_SUGGESTIONS = 5


def build(model: ModelText, arguments: list[Any] | dict[str, Any] | None, folder: Path) -> Any:
    """Import the module that a text names, and build the network.

    The code's standard output goes to stderr, and ``sys.argv`` has none of this program's
    arguments. torch's random numbers start from seed 0, so random weights are reproducible.

    Args:
        model: name of the factory.
        arguments: arguments of the factory, by name or in order; None for no arguments.
        folder: folder that is searched for modules first, and that file paths are relative to.

    Returns:
        The module that the factory returned.

    Raises:
        InputError: if something does not exist or fails, or if the result is not a module.
    """
    with _as_a_script(model, folder):
        module = _guarded(model, folder, lambda: _imported(model, folder))
        found = _attribute(model, module)
        if isinstance(found, nn.Module):
            if arguments is not None:
                raise InputError(
                    f"{model.text} is a network, which takes no arguments: leave out --model-args, "
                    f"or name the factory."
                )
            return found
        if not callable(found):
            raise InputError(
                f"{model.text} is of type {type(found).__name__}: name a function or a class that "
                f"builds the network, or the network itself."
            )
        torch.manual_seed(0)  # again, because only a first import draws random numbers
        built = _called(model, found, arguments)
    if isinstance(built, nn.Module):
        return built
    returned = "nothing" if built is None else f"a {type(built).__name__}"
    raise InputError(
        f"{model.text} returns {returned} instead of a torch.nn.Module: let it return the network."
    )


@contextlib.contextmanager
def _as_a_script(model: ModelText, folder: Path) -> Iterator[None]:
    """Set up what a script of the user would find: its folder on the path, and no arguments.

    The current folder is restored afterwards, because this program's paths are relative to it.
    """
    for name in PACKAGES:  # first, so that no folder of the user with such a name is imported
        importlib.import_module(name)
    before = sys.argv
    sys.argv = [model.module]
    try:
        with (
            _first_on_path(folder.resolve()),
            contextlib.chdir(Path.cwd()),
            _prints_on_stderr(),
            interruption.unswallowed(),
            interruption.interruptible_imports(is_users),
            torch.random.fork_rng(devices=[]),
        ):
            torch.manual_seed(0)
            yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _prints_on_stderr() -> Iterator[None]:
    """Redirect the standard output of Python, libraries and child processes to standard error."""
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as restored:
        with contextlib.suppress(OSError):  # a process may have no standard output
            own = os.dup(1)
            restored.callback(os.close, own)
            os.dup2(2, 1)
            restored.callback(os.dup2, own, 1)
        yield


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Search a folder for modules first, and last afterwards.

    Later imports of the network are still found, but shadow no module of this program.
    """
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have removed it
            sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _imported(model: ModelText, folder: Path) -> ModuleType:
    if model.is_file:
        return _from_file(model, folder / model.module)
    top = model.module.partition(".")[0]
    if top in PACKAGES:
        raise InputError(
            f"--model {model.text}: {top} is a package of slide-deploy itself: name your module as "
            f"a file, {model.module.replace('.', '/')}.py:{model.attribute}."
        )
    module = importlib.import_module(model.module)
    own, found = model.file(folder), getattr(module, "__file__", None)
    if own is not None and found is not None and own.resolve() != Path(found).resolve():
        raise InputError(
            f"--model {model.text}: {model.module} is also the name of {found}, which is loaded "
            f"already: name your module as a file, {own.relative_to(folder)}:{model.attribute}."
        )
    return module


def _from_file(model: ModelText, file: Path) -> ModuleType:
    if not file.is_file():
        raise InputError(f"--model {model.text}: there is no file {file}: check the path.")
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
    """Import a file as a module, by its own name or, if that is taken, by another one."""
    name = file.stem
    elsewhere = [path for path in sys.path if path != str(file.parent)]
    while name in sys.modules or PathFinder.find_spec(name, elsewhere):
        name = f"{name}_"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _guarded(model: ModelText, folder: Path, load: Callable[[], ModuleType]) -> ModuleType:
    """Import a module, and convert any error to one sentence.

    Raises:
        InputError: if the import fails.
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
                f"the installed packages: check its name, or name its file as "
                f"path/to/net.py:{model.attribute}."
            ) from error
        raise InputError(
            f"--model {model.text} cannot be imported ({reason_of(error)}): install "
            f"{name or 'the missing package'} where slide-deploy is installed."
        ) from error
    except (Exception, SystemExit) as error:  # the user's code, any error
        raise InputError(
            f"--model {model.text} cannot be imported ({_described(error)}): put code that runs, "
            f"not defines, below if __name__ == '__main__'."
        ) from error


def _attribute(model: ModelText, module: ModuleType) -> Any:
    found: Any = module
    for name in model.attribute.split("."):
        try:
            found = getattr(found, name)
        except (Exception, SystemExit) as error:  # a module may compute its attributes
            why = "" if isinstance(error, AttributeError) else f" ({_described(error)})"
            suggested = _suggested(module, name) if found is module else ""
            raise InputError(
                f"--model {model.text}: {_where(module)} has no {name}{why}{suggested}: check the "
                f"name after the colon."
            ) from error
    return found


def _where(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return f"{module.__name__} ({file})" if file else module.__name__


def _suggested(module: ModuleType, missing: str) -> str:
    """List what a module itself defines that may build a network, the closest names first."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (isinstance(value, nn.Module) or getattr(value, "__module__", "") == module.__name__)
        and callable(value)
    ]
    near = difflib.get_close_matches(missing, names, n=_MAX_SUGGESTIONS)
    ordered = list(dict.fromkeys((*near, *names)))
    more = f" and {len(names) - _MAX_SUGGESTIONS} more" if len(names) > _MAX_SUGGESTIONS else ""
    return f", but {', '.join(ordered[:_MAX_SUGGESTIONS])}{more}" if names else ""


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
                f"{model.text}{_parameters(signature)} does not take these arguments ({error}): "
                f"give its arguments as --model-args '{{\"name\": value}}'."
            ) from error
    try:
        return factory(*args, **kwargs)
    except (Exception, SystemExit) as error:  # the user's code, any error
        raise InputError(
            f"{model.text} fails to build the network ({_described(error)}): check its arguments "
            f"in --model-args."
        ) from error


def _parameters(signature: inspect.Signature) -> str:
    """Return the parameters of a factory, without their types."""
    empty = inspect.Parameter.empty
    bare = [each.replace(annotation=empty) for each in signature.parameters.values()]
    return str(inspect.Signature(bare))


def _described(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it exits the program, {reason_of(error)}"
    return reason_of(error)
