"""Draw what a command prints as a picture: ``python docs/picture.py OUT.svg COMMAND``.

``make picture`` draws the one at the top of the README.
"""

import os
import shlex
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 98


def main(out: Path, command: list[str]) -> None:
    """Run a command and write the picture; a command that fails leaves none."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    console = Console(record=True, width=WIDTH, file=StringIO())
    console.print(f"[bold]$ {Path(command[0]).name} {shlex.join(command[1:])}[/]", highlight=False)
    console.print(Text.from_ansi(done.stdout.rstrip()))
    # An identifier of its own for every picture would change the file each time.
    console.save_svg(str(out), title="slide-deploy", unique_id="terminal")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
