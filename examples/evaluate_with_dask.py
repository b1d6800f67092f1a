"""Evaluate files on a Dask cluster. Each worker evaluates a part of the images.

Without --address, the script starts a cluster on this machine. With an address, such as
tcp://scheduler:8786, it uses that cluster, whose workers must have the files and images under the
same paths.
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
    """Evaluate, merge and print. Return the exit code."""
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
    """Evaluate in parts and merge the results, which equal those of a single run.

    Args:
        client: Client of the cluster.
        files: Exported files, under paths that every worker can read.
        data: Images, under a path that every worker can read.
        shards: Number of parts. With several parts per worker, workers finish at about the same
            time.
    """
    parts = [client.submit(_part, files, data, (index, shards)) for index in range(1, shards + 1)]
    for done, future in enumerate(as_completed(parts), 1):
        if future.status == "error":
            future.result()  # raises the worker's exception
        print(f"{done} of {shards} parts", file=sys.stderr)
    return slide_deploy.merge_evaluations(client.gather(parts))


def _part(files: list[Path], data: Path, shard: tuple[int, int]) -> EvaluationResult:
    """Evaluate one part, in a worker."""
    return slide_deploy.evaluate(files, data, shard=shard)


def _cluster(address: str | None, workers: int) -> Client:
    if address is not None:
        return Client(address)
    # One thread per process, as the runtimes have threads of their own.
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,  # main prints the errors of parts
    )
    return Client(cluster)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", help="exported files")
    parser.add_argument("--data", type=Path, required=True, help="folder or CSV file of images")
    parser.add_argument("--shards", type=int, default=8, help="number of parts")
    parser.add_argument("--workers", type=int, default=2, help="processes of a local cluster")
    parser.add_argument("--address", help="scheduler of a running cluster")
    parser.add_argument("--json", type=Path, help="file for the result")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
