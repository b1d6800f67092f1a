"""``python -m slide_deploy``."""

from slide_deploy.cli import main

main()
