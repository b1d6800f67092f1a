"""Entry point of ``slide-deploy`` and ``python -m slide_deploy``.

Signals are handled before other modules load.
"""

from slide_deploy.process import interruption


def main() -> None:
    """Run the command line as the only task of this process."""
    try:
        interruption.run(_command_line)
    finally:
        interruption.ignore()


def _command_line() -> None:
    from slide_deploy.cli import run

    run()


if __name__ == "__main__":
    main()
