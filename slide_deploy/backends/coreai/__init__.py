"""Core AI, the runtime in the package coreai-core, which proves assets without a Mac."""
