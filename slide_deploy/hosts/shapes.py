"""Names and shapes of a file's tensors, arranged by the stages and blocks of a network."""

import re
from collections.abc import Iterator, Mapping

from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.errors import InputError
from slide_deploy.models.staged import Slide

Shape = tuple[int, ...]


class BlockShapes:
    """Shapes of one block's tensors by their names within the block; () for a missing tensor."""

    def __init__(self) -> None:
        self._shapes: dict[str, Shape] = {}

    def __getitem__(self, name: str) -> Shape:
        return self._shapes.get(name, ())

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def add(self, name: str, shape: Shape) -> None:
        """Add a tensor."""
        self._shapes[name] = shape

    @property
    def slide_kernel(self) -> int:
        """Kernel size of the block's slide attention; 0 if it has the host's own attention."""
        kernel = self["attn.dep_conv.weight"] or self["attn.key_conv.weight"]
        return kernel[3] if kernel else 0

    @property
    def head_dim(self) -> int:
        """Features per head of a branched slide attention; 0 for any other attention."""
        outputs = self["attn.dep_conv.weight"]
        return outputs[0] // self.slide_kernel**2 if outputs else 0


class Stages:
    """The blocks of a network, stage by stage.

    Args:
        stored: the tensors of a file.
        family: name of the family, for messages.
        pattern: matches the beginning of the name of a block's tensor. Its groups are the numbers
            of the stage and of the block.
        first: number of the first stage in names.

    Raises:
        InputError: if there are no blocks, or if stages or blocks are not numbered consecutively.
    """

    def __init__(self, stored: StoredWeights, family: str, pattern: str, first: int = 0) -> None:
        self.path = stored.path
        self.shapes: Mapping[str, Shape] = {
            name: tuple(tensor.shape) for name, tensor in stored.tensors.items()
        }
        found: dict[int, dict[int, BlockShapes]] = {}
        for name, shape in self.shapes.items():
            match = re.match(pattern, name)
            if match:
                stage, block = int(match[1]) - first, int(match[2])
                found.setdefault(stage, {}).setdefault(block, BlockShapes()).add(
                    name[match.end() :], shape
                )
        if sorted(found) != list(range(len(found))) or not found:
            named = [stage + first for stage in sorted(found)]
            raise InputError(f"{self.path} has only stages {named}: it is not a complete {family}.")
        for stage, blocks in found.items():
            if sorted(blocks) != list(range(len(blocks))):
                raise InputError(
                    f"{self.path} lacks blocks of stage {stage + first}: it is not a complete "
                    f"{family}."
                )
        self._blocks = [
            [found[stage][block] for block in sorted(found[stage])] for stage in sorted(found)
        ]

    def __iter__(self) -> Iterator[list[BlockShapes]]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, stage: int) -> list[BlockShapes]:
        return self._blocks[stage]

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks in each stage."""
        return tuple(map(len, self._blocks))

    @property
    def slide(self) -> Slide:
        """Kernel sizes of slide attention by stage and block; see ``StagedConfig``."""
        kernels = [tuple(block.slide_kernel for block in stage) for stage in self._blocks]
        return tuple(each[0] if len(set(each)) == 1 else each for each in kernels)

    def feature_norms(self, first: int = 0) -> tuple[int, ...]:
        """Return the stages whose feature map is normalised, as in detectors.

        Args:
            first: number of the first stage in the names of these normalisations.
        """
        if "head.weight" in self.shapes:  # a classifier does not use them
            return ()
        return tuple(
            stage for stage in range(len(self)) if f"norm{stage + first}.weight" in self.shapes
        )

    def host_shapes(self, name: str) -> list[Shape]:
        """Return a tensor's shape in each stage's first block with host attention; () if none."""
        return [
            next((block[name] for block in stage if not block.slide_kernel), ())
            for stage in self._blocks
        ]

    @property
    def hidden(self) -> list[int]:
        """Hidden width of the MLP in the first block of each stage."""
        return [stage[0]["mlp.fc1.weight"][0] for stage in self._blocks]
