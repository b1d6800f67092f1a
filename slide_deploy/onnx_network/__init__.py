"""A network that was read from an ``.onnx`` file, as a PyTorch module.

``reading`` opens the file and simplifies its graph. ``operators`` and ``host_values`` say what each
ONNX operator computes. ``module`` runs the graph in PyTorch. ``attentions`` cuts the subgraphs that
may be slide attentions out of it, so that folding can recognise them. ``deployable`` gives the
network its inputs, outputs and reference: the file itself on ONNX Runtime.
"""
