"""What a layer may be: a guess that is to be proved."""

from dataclasses import dataclass

from slide_deploy.models.slide_attention import FoldedSlideAttention


@dataclass(frozen=True)
class Reading:
    """A folded slide attention, and what is known of the layer it was read from.

    Attributes:
        folded: in float64, on the CPU, for tokens.
        branches: names of what holds the kernels that bring the neighbours.
        added: whether any of these are added to each other, so that there is something to fold.
        shift_distance: largest difference between the kernel nearest to a shift and a pure shift;
            None where none is a convolution of its own.
        shift_bias: largest absolute bias of that one; None the same.
        position_bias: largest absolute value of the bias table, 0 without; None where a table
            cannot be told from other biases.
        scale: factor on the logits; None where it cannot be told from the weights.
    """

    folded: FoldedSlideAttention
    branches: tuple[str, ...]
    added: bool
    shift_distance: float | None
    shift_bias: float | None
    position_bias: float | None = None
    scale: float | None = None
