"""Slide attentions of other projects, told by what they compute and not by what they are called.

``find_candidates`` names the layers of a model that hold branches of a slide attention and are of
no class of this project. ``recognise`` reads a folded slide attention from one and proves it
against the layer's own ``forward``, or says why the layer stays as it is. ``HostedAttention`` takes
its place in the model.
"""

from slide_deploy.foreign.candidates import find_candidates
from slide_deploy.foreign.hosted import HostedAttention
from slide_deploy.foreign.readings import Reading
from slide_deploy.foreign.recognition import LeftLayer, Recognised, recognise

__all__ = [
    "HostedAttention",
    "LeftLayer",
    "Reading",
    "Recognised",
    "find_candidates",
    "recognise",
]
