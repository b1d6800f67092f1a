"""A network as a ``torch.export`` program: how it is traced, asked and changed."""
