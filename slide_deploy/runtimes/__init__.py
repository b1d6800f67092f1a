"""A written file to a callable.

Importable without torch; each runtime's library is imported late.
"""

from slide_deploy.runtimes.base import Session
from slide_deploy.runtimes.registry import RUNTIMES, Runtime, open_file, runtime_for, values_of

__all__ = ["RUNTIMES", "Runtime", "Session", "open_file", "runtime_for", "values_of"]
