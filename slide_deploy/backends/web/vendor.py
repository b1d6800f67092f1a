"""Puts ONNX Runtime Web into the checkout, for the wheel; ``make wheel`` runs it.

With a path, it takes the archive that ``npm pack`` wrote there.
"""

import sys
from pathlib import Path

from slide_deploy.backends.web.assets import vendor
from slide_deploy.errors import InputError

if __name__ == "__main__":
    try:
        print(vendor(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
    except InputError as error:
        sys.exit(f"slide-deploy: {error}")
