"""What a process of Python is given that this one starts.

Python puts the working directory first on its path for ``-m`` and ``-c``, and for a script its
folder. A file there that is called ``base64.py`` would run in the place of Python's own.
"""

import os
import sys
from pathlib import Path


def python_environment(home: Path) -> dict[str, str]:
    """Variables with which Python finds what it finds here, and nothing of the working directory.

    Processes that the started one starts in turn inherit them.

    Args:
        home: the folder with the package that is started, which may have been found here by other
            means than the path.
    """
    path = (*filter(None, sys.path), str(home))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "PYTHONSAFEPATH": "1",
    }
