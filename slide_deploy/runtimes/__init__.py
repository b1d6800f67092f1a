"""A written file to a callable.

Importable without torch; each runtime's library is imported late.
"""

from slide_deploy.runtimes.base import Port, Session
from slide_deploy.runtimes.images import ImageSession, open_image_file
from slide_deploy.runtimes.registry import RUNTIMES, Runtime, open_file, runtime_for, values_of

__all__ = [
    "RUNTIMES",
    "ImageSession",
    "Port",
    "Runtime",
    "Session",
    "open_file",
    "open_image_file",
    "runtime_for",
    "values_of",
]
