"""Fold, export, verify and check vision models that use Slide Attention.

>>> import slide_deploy
>>> result = slide_deploy.export(model, image, to=["onnx", "openvino"], out="exported")
>>> result.passed
True

Importing the package is quick and does not import torch. Each name is imported when it is first
used, so a device without torch can check, run and measure files. docs/python.md is the guide.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporters.outcome import ExportedFile as ExportedFile
    from exporters.outcome import ExportResult as ExportResult
    from slide_deploy.api.evaluating import EvaluationResult as EvaluationResult
    from slide_deploy.api.evaluating import evaluate as evaluate
    from slide_deploy.api.evaluating import merge_evaluations as merge_evaluations
    from slide_deploy.api.exporting import export as export
    from slide_deploy.api.files import FileVerdict as FileVerdict
    from slide_deploy.api.files import check as check
    from slide_deploy.api.files import predict as predict
    from slide_deploy.api.files import verify as verify
    from slide_deploy.api.measuring import BenchResult as BenchResult
    from slide_deploy.api.measuring import bench as bench
    from slide_deploy.api.networks import fold as fold
    from slide_deploy.api.networks import load as load
    from slide_deploy.api.networks import lower as lower
    from slide_deploy.deployable.record import Deployable as Deployable
    from slide_deploy.errors import CheckFailed as CheckFailed
    from slide_deploy.errors import InputError as InputError
    from slide_deploy.errors import MissingExtra as MissingExtra
    from slide_deploy.errors import SlideDeployError as SlideDeployError
    from slide_deploy.folding.model import Certificate as Certificate
    from slide_deploy.graph_checks.check import Report as Report
    from slide_deploy.graph_checks.policy import Policy as Policy
    from slide_deploy.images.prediction import Guess as Guess
    from slide_deploy.lowerings.choice import Lowering as Lowering

__version__ = "0.1.0"

# The top-level packages of this distribution. Two of the names are common words, so `doctor` checks
# that no other distribution owns them.
PACKAGES = ("slide_deploy", "exporters", "benchmarks")

# The module of each public name.
_HOMES = {
    # Functions, in the order of a deployment.
    "load": "slide_deploy.api.networks",
    "fold": "slide_deploy.api.networks",
    "lower": "slide_deploy.api.networks",
    "export": "slide_deploy.api.exporting",
    "verify": "slide_deploy.api.files",
    "check": "slide_deploy.api.files",
    "bench": "slide_deploy.api.measuring",
    "predict": "slide_deploy.api.files",
    "evaluate": "slide_deploy.api.evaluating",
    "merge_evaluations": "slide_deploy.api.evaluating",
    # Results.
    "Deployable": "slide_deploy.deployable.record",
    "Certificate": "slide_deploy.folding.model",
    "ExportResult": "exporters.outcome",
    "ExportedFile": "exporters.outcome",
    "FileVerdict": "slide_deploy.api.files",
    "Report": "slide_deploy.graph_checks.check",
    "BenchResult": "slide_deploy.api.measuring",
    "Guess": "slide_deploy.images.prediction",
    "EvaluationResult": "slide_deploy.api.evaluating",
    # Types of options.
    "Lowering": "slide_deploy.lowerings.choice",
    "Policy": "slide_deploy.graph_checks.policy",
    # Exceptions.
    "SlideDeployError": "slide_deploy.errors",
    "InputError": "slide_deploy.errors",
    "MissingExtra": "slide_deploy.errors",
    "CheckFailed": "slide_deploy.errors",
}

if not TYPE_CHECKING:  # with a module-level __getattr__, a type checker accepts any name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return ["__version__", *_HOMES]
