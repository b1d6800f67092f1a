"""Read Core AI assets, ``.aimodel``: the files of the folder, and the program by Apple's library.

Apple's parser ends the process if a file is damaged, so it runs in a child process (``apart.py``).
Importing this package imports neither torch nor Core AI.
"""

from slide_deploy.saved.aimodel.apart import compiled, program_of
from slide_deploy.saved.aimodel.folder import Asset, open_asset

__all__ = ["Asset", "compiled", "open_asset", "program_of"]
