"""``python -m studies.existing.files FOLDER``: files of PyTorch's exporters to fold.

Both exporters write each network from a checkpoint, with its branches. A suite beside the files
races them, folded and as they are, with our export of the checkpoint.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.baselines.subject import network
from benchmarks.generated_page import page_command
from exporters.base import quiet
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.errors import InputError
from slide_deploy.files.writing import draft_of, write_text
from slide_deploy.hosts import load_checkpoint
from slide_deploy.hosts.registry import published_named
from slide_deploy.process import interruption
from slide_deploy.terminal.progress import Steps
from studies.existing.races import EXPORTERS, NETWORKS, suite_of

_SEED = 0


def write_files(name: str, folder: Path, step: Callable[[str], None]) -> Path:
    """Write the files of a network that are missing, and its suite.

    Args:
        name: a published network. ``NAME.pth`` in the folder is its checkpoint; without one, random
            weights are written there, as latency does not depend on their values.
        folder: where to write.
        step: called with each step as it starts.

    Returns:
        The suite.

    Raises:
        InputError: if there is no such network, or its checkpoint cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{name}.pth"
    if not checkpoint.exists():
        step(f"{name}: random weights")
        _, architecture = published_named(name)
        torch.manual_seed(_SEED)
        model = network(name, architecture.config.image_size).branched()
        with draft_of(checkpoint) as draft:
            torch.save({"model": model.state_dict()}, draft)
    trained = deployable_checkpoint(load_checkpoint(checkpoint))
    for exporter, is_dynamo in EXPORTERS.items():
        path = folder / f"{name}.{exporter}.onnx"
        if path.exists():
            continue
        step(f"{name}: {exporter}")
        with draft_of(path) as draft, interruption.unswallowed(), quiet():
            torch.onnx.export(
                trained.model.eval(),
                trained.examples,
                str(draft),
                input_names=[each.name for each in trained.inputs],
                output_names=list(trained.outputs),
                dynamo=is_dynamo,
                external_data=False,
            )
    suite = folder / f"{name}.toml"
    write_text(suite, suite_of(name, checkpoint.name))
    return suite


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Write the files. Return 2 if a network cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m studies.existing.files")
    parser.add_argument("folder", type=Path, help="folder of checkpoints, files and suites")
    parser.add_argument(
        "--network", action="append", default=[], help="network to write, repeatable; default: all"
    )
    chosen = parser.parse_args(arguments)
    names = chosen.network or NETWORKS
    for name in names:
        if name not in NETWORKS:
            raise InputError(f"--network {name} is not one of {', '.join(NETWORKS)}.")
    with Steps(False, 3 * len(names)) as step:
        for name in names:
            write_files(name, chosen.folder, step)
    return 0


if __name__ == "__main__":
    sys.exit(main())
