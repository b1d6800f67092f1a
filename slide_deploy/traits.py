"""How the rest of a network is written: what each runtime likes best."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """Rewrites of a whole model, each exact.

    Attributes:
        bare_products: projections behind a normalisation of tokens, but those of slide attention,
            are products without a bias, and each head of a window attention has its own where that
            pays; see ``lowerings.normalised`` and ``lowerings.window``.
        map_stages: the first slide stages are maps throughout, where their forms are; see
            ``lowerings.map_stages``.
    """

    bare_products: bool = False
    map_stages: bool = False


PLAIN = Traits()
