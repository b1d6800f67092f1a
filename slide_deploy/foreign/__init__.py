"""Slide attentions of other projects, told by what they compute and not by what they are called.

``find_foreign`` names the layers of a model that carry the branches of a slide attention and are of
no class of this project. ``recognise`` builds a ``SlideAttention`` from the weights of one and
proves it against the layer's own ``forward``. ``HostedAttention`` takes its place in the model.
"""

from slide_deploy.foreign.hosted import HostedAttention
from slide_deploy.foreign.recognition import Recognised, find_foreign, recognise

__all__ = ["HostedAttention", "Recognised", "find_foreign", "recognise"]
