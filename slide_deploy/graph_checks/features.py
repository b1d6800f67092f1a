"""What a file says of the feature maps that it answers in place of logits.

The exporter stores a JSON list with the name and the shape of each map, without the batch. A map
that was lost, renamed or exchanged for another is missed then.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from slide_deploy.graph_checks.declarations import read_entries
from slide_deploy.graph_checks.readers.limits import MAX_DIMENSION

FEATURES_KEY = "slide_deploy.features"


@dataclass(frozen=True)
class FeatureMap:
    """One map, as the file declares it.

    Attributes:
        name: of the output.
        shape: channels, height and width.
    """

    name: str
    shape: tuple[int, ...]


def read_features(metadata: Mapping[str, str]) -> tuple[FeatureMap, ...] | None:
    """The maps that a file declares; None if it declares none, as a classifier.

    Raises:
        ValueError: the text is not the JSON list that the exporters write; its text is a clause.
    """
    text = metadata.get(FEATURES_KEY)
    if text is None:
        return None
    maps = []
    for entry in read_entries(text):
        name, shape = entry.get("name"), entry.get("shape")
        if not isinstance(name, str):
            raise ValueError("has an entry without a name")
        if not isinstance(shape, list) or not all(
            type(size) is int and 0 < size <= MAX_DIMENSION for size in shape
        ):
            raise ValueError(f"says no shape of {name[:80]}")
        maps.append(FeatureMap(name, tuple(shape)))
    if not maps:
        raise ValueError("names no map")
    return tuple(maps)
