"""Image files to input tensors, outputs to class names, and sets of labelled images."""
