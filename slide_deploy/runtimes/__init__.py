"""A written file to a callable.

Importable without torch; each runtime's library is imported late.
"""

from slide_deploy.runtimes.base import Port, Session
from slide_deploy.runtimes.images import ImageSession, open_image_file
from slide_deploy.runtimes.registry import open_file, open_on, runtime_for, values_of

__all__ = [
    "ImageSession",
    "Port",
    "Session",
    "open_file",
    "open_image_file",
    "open_on",
    "runtime_for",
    "values_of",
]
