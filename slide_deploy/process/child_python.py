"""The environment of a Python process that this one starts.

For ``-m`` and ``-c``, Python puts the working directory first on its path, and for a script the
script's folder. A file ``base64.py`` there would be imported instead of Python's own module.
"""

import os
import sys
from pathlib import Path


def python_environment(home: Path) -> dict[str, str]:
    """Return variables that give a child this process's path without the working directory.

    Processes that the child starts inherit them.

    Args:
        home: the folder of the package to run. It is added to the path, because this process may
            have found the package by other means.
    """
    path = (*filter(None, sys.path), str(home))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "PYTHONSAFEPATH": "1",
    }
