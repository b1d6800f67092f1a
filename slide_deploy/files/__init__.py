"""Files on disk: atomic writing, locks, hashes, validation, and the files of a model."""
