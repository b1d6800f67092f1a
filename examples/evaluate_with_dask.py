"""Evaluate files on a Dask cluster: each worker takes a part of the pictures.

Without an address a cluster of this machine is started; with one, say tcp://scheduler:8786, that
cluster is used. Its workers must see the files and the pictures under the same paths.
"""

import argparse
import logging
import sys
from pathlib import Path

from dask.distributed import Client, LocalCluster, as_completed

import slide_deploy
from slide_deploy import EvaluationResult, SlideDeployError

EXAMPLE = """\
example:
  python examples/evaluate_with_dask.py exported/*.onnx --data val --shards 16 --json result.json
"""


def main() -> int:
    """Evaluate, join, print; the exit code."""
    arguments = _parse()
    try:
        with _cluster(arguments.address, arguments.workers) as client:
            result = evaluate(client, arguments.files, arguments.data, arguments.shards)
        if arguments.json is not None:
            result.save(arguments.json)
    except SlideDeployError as error:
        print(error, file=sys.stderr)
        return 2
    print(result)
    return 0


def evaluate(client: Client, files: list[Path], data: Path, shards: int) -> EvaluationResult:
    """Evaluate in parts and join their results, which are those of one run.

    Args:
        client: of the cluster.
        files: written files, under paths that every worker can read.
        data: pictures, likewise.
        shards: how many parts; some for each worker, so that no worker waits long for another.
    """
    parts = [client.submit(_part, files, data, (index, shards)) for index in range(1, shards + 1)]
    for done, future in enumerate(as_completed(parts), 1):
        if future.status == "error":
            future.result()  # raises what the worker raised
        print(f"{done} of {shards} parts", file=sys.stderr)
    return slide_deploy.merge_evaluations(client.gather(parts))


def _part(files: list[Path], data: Path, shard: tuple[int, int]) -> EvaluationResult:
    """What a worker does."""
    return slide_deploy.evaluate(files, data, shard=shard)


def _cluster(address: str | None, workers: int) -> Client:
    if address is not None:
        return Client(address)
    # The runtimes have threads of their own: a process of one thread for each part.
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,  # errors of parts come back to us, who tell of them
    )
    return Client(cluster)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", help="written files")
    parser.add_argument("--data", type=Path, required=True, help="folder or CSV file of pictures")
    parser.add_argument("--shards", type=int, default=8, help="parts of the pictures")
    parser.add_argument("--workers", type=int, default=2, help="processes of a local cluster")
    parser.add_argument("--address", help="of the scheduler of a cluster that runs already")
    parser.add_argument("--json", type=Path, help="write the result here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
