"""Find cells of k x k positions whose channels are concatenated, as in patch merging.

cat(x[:, r::k, c::k] for every row r and column c of a cell, in any order)
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch.fx import Node

from slide_deploy.layouts.roles import Role
from slide_deploy.program.traced import same_shape, shape


@dataclass(frozen=True)
class Cells:
    """The cells that a projection reads.

    Attributes:
        source: the value (batch, H, W, C) that is partitioned into cells.
        places: row and column in the cell of each group of channels, in order.
        norm: the normalisation in between, without weights; None if there is none.
    """

    source: Node
    places: list[tuple[int, int]]
    norm: Node | None

    @property
    def side(self) -> int:
        """Number of rows and columns of a cell, k."""
        return 1 + max(row for row, _ in self.places)


def cells_of(value: Node, roles: Mapping[Node, Role]) -> Cells | None:
    """Read a value as concatenated cells, normalised or not; None if it is not.

    Args:
        value: the value that a projection reads.
        roles: roles of the operators on feature maps.
    """
    norm = None
    value = behind_reshapes(value, roles)
    role = roles.get(value)
    if role is not None and is_plain_norm(role):
        norm, value = value, behind_reshapes(role.data[0], roles)
        role = roles.get(value)
    if role is None or role.kind != "cat" or len(shape(value)) != 4:
        return None
    if int(role.call.arguments["dim"]) % 4 != 3:
        return None
    found = [_strided(part, roles) for part in role.data]
    sides = {each[1] for each in found if each is not None}
    sources = {each[0] for each in found if each is not None}
    if None in found or len(sides) != 1 or len(sources) != 1:
        return None
    (source,), (side,) = sources, sides
    places = [each[2] for each in found if each is not None]
    wanted = [(row, column) for row in range(side) for column in range(side)]
    is_cut = all(isinstance(size, int) and size % side == 0 for size in shape(source)[1:3])
    return Cells(source, places, norm) if sorted(places) == wanted and is_cut else None


def behind_reshapes(value: Node, roles: Mapping[Node, Role]) -> Node:
    """Skip reshapes between (batch, H, W, C) and tokens and return the value that they read."""
    while (role := roles.get(value)) is not None and role.kind == "rows":
        (value,) = role.data
    return value


def is_plain_norm(role: Role) -> bool:
    """Whether a role is a normalisation whose output sums to zero at every position."""
    arguments = role.call.arguments
    return role.kind == "norm" and arguments["weight"] is None and arguments["bias"] is None


def _strided(part: Node, roles: Mapping[Node, Role]) -> tuple[Node, int, tuple[int, int]] | None:
    """The source of a slice of every k-th row and column, k, and the first row and column."""
    starts: dict[int, int] = {}
    sides: set[int] = set()
    while (role := roles.get(part)) is not None and role.kind == "slice":
        arguments = role.call.arguments
        axis, step = int(arguments["dim"]) % 4, int(arguments["step"])
        (whole,) = role.data
        if step > 1:
            end, size = arguments["end"], shape(whole)[axis]
            known = end is None or (isinstance(size, int) and end >= size)
            if axis not in (1, 2) or axis in starts or not known:
                return None
            starts[axis] = int(arguments["start"] or 0)
            sides.add(step)
        elif not same_shape(whole, part):
            return None
        part = whole
    if len(starts) != 2 or len(sides) != 1:
        return None
    return part, sides.pop(), (starts[1], starts[2])
