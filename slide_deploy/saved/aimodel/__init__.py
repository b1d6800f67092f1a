"""Core AI assets, ``.aimodel``: what lies in the folder, and Apple's code behind a wall of its own.

Apple's parser ends the process where a file is damaged, so it runs in a process that may end
(``apart.py``). Importable without torch and without Core AI.
"""

from slide_deploy.saved.aimodel.apart import compiled, program_of
from slide_deploy.saved.aimodel.folder import Asset, open_asset

__all__ = ["Asset", "compiled", "open_asset", "program_of"]
