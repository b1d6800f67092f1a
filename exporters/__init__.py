"""Writes lowered networks to files of all formats, and verifies the files."""
