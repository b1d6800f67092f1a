"""Slide attentions of other projects, recognised by what they compute, not by their names.

``find_candidates`` lists the layers of a model that hold slide attention branches and are not of a
class of this project. ``recognise`` reads a folded slide attention from a candidate and proves it
against the candidate's own ``forward``, or returns the reason why the layer is left unchanged.
``HostedAttention`` replaces the layer in the model.
"""

from slide_deploy.foreign.candidates import find_candidates
from slide_deploy.foreign.hosted import HostedAttention
from slide_deploy.foreign.proof import Reading
from slide_deploy.foreign.recognition import LeftLayer, Recognised, recognise

__all__ = [
    "HostedAttention",
    "LeftLayer",
    "Reading",
    "Recognised",
    "find_candidates",
    "recognise",
]
