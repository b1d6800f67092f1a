"""Open and run written files, with one folder per runtime.

Verification, tuning and benchmarks open files here. Importing this package imports neither torch
nor a runtime; a runtime's library is imported when a file is opened.
"""

from slide_deploy.backends.base import Port, Session
from slide_deploy.backends.images import ImageSession, open_image_file
from slide_deploy.backends.opening import open_file, values_of

__all__ = [
    "ImageSession",
    "Port",
    "Session",
    "open_file",
    "open_image_file",
    "values_of",
]
