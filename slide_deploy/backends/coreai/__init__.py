"""Core AI, the runtime of the package coreai-core: proves assets where there is no Mac."""
