"""All mutants: what is wrong in each, and who must see it."""

from collections.abc import Mapping

from slide_deploy.graph_checks.graph import Format
from tests.mutants.catalogue_files import FILES
from tests.mutants.catalogue_models import NETWORKS, WEIGHTS
from tests.mutants.mutant import Mutant

CATALOGUE: tuple[Mutant, ...] = (*WEIGHTS, *NETWORKS, *FILES)

_DESCRIPTION = "a package's description is not compared with its program"
_LEFT_OVER = "bytes of the weight file that nothing refers to are not counted"
_EPSILON = "no rule looks at epsilon, and the logits change less than rounding may change them"
_PRECISION = "no rule compares the precision that a file claims with its types"

# What is not seen yet as it must be, and why. The tests say when an entry can go.
GAPS: Mapping[tuple[str, Format], str] = {
    ("renamed-input-in-the-description", "coreml"): _DESCRIPTION,
    ("doubles-in-the-description", "coreml"): _DESCRIPTION,
    ("declared-shape-wrong", "onnx"): "shapes that an ONNX file declares inside are ignored",
    ("training-graph-left-in", "onnx"): "training graphs are ignored",
    ("weights-left-over", "openvino"): _LEFT_OVER,
    ("weights-left-over", "coreml"): _LEFT_OVER,
    ("epsilon-of-an-inner-norm", "onnx"): _EPSILON,
    ("epsilon-of-an-inner-norm", "openvino"): _EPSILON,
    ("epsilon-of-an-inner-norm", "coreml"): _EPSILON,
    ("half-precision-claimed", "onnx"): _PRECISION,
    ("half-precision-claimed", "openvino"): _PRECISION,
    ("half-precision-claimed", "coreml"): _PRECISION,
    ("output-removed", "onnx"): "an IndexError of ONNX Runtime's loader is let through",
}
