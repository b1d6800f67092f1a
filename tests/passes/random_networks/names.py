"""List every pass, whether a format uses it or not."""

import pkgutil
from importlib import import_module

from slide_deploy import passes


def pass_names() -> tuple[str, ...]:
    """Modules of ``slide_deploy.passes`` that rewrite a program."""
    names = (each.name for each in pkgutil.iter_modules(passes.__path__))
    return tuple(
        name for name in names if hasattr(import_module(f"{passes.__name__}.{name}"), "rewrite")
    )
