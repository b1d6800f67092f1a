"""Do with files what verify, its --locate and predict do, in a process that may be taken down.

    python -m tests.backends.open_and_run PICTURE FILE…

A line a file: its number, and "refused", "answered" or what else was raised. The number is printed
before the file is opened, so that the last line tells what a crash was about.
"""

import resource
import sys
from pathlib import Path

import numpy as np

from slide_deploy.backends import Session, open_file, open_image_file, values_of
from slide_deploy.errors import InputError
from slide_deploy.images.prediction import predict

# A damaged size may ask for any memory: it is refused rather than swapped in.
MEMORY = 12 << 30


def outcome(path: Path, picture: Path) -> str:
    reached = []
    session = None
    try:
        session = open_file(path)
        session(zeros(session))
        reached.append("answered")
        predict(open_image_file(path), [picture], names=(), top=1)
    except InputError as error:
        reached.append(refusal(error))
    try:
        feeds = {"image": np.zeros((1, 3, 16, 16), np.float32)}
        values_of(path, feeds if session is None else zeros(session))
    except InputError as error:
        reached.append(refusal(error))
    return "answered" if reached == ["answered"] else reached[-1]


def zeros(session: Session) -> dict[str, np.ndarray]:
    """Something for every input, where a damaged size does not ask for more than there is."""
    return {
        port.name: np.zeros([size or 1 for size in port.shape], np.float32)
        for port in session.inputs
    }


def refusal(error: InputError) -> str:
    """ "refused" if it is one sentence."""
    return "refused" if len(str(error).splitlines()) == 1 else f"many lines: {error!r}"


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    picture, *files = map(Path, sys.argv[1:])
    for number, path in enumerate(files):
        print(number, end=" ", flush=True)
        try:
            print(outcome(path, picture), flush=True)
        except Exception as error:
            print(f"raised {' '.join(repr(error).split())}", flush=True)


if __name__ == "__main__":
    main()
