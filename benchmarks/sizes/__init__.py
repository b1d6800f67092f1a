"""What every published size costs to export, and whether it has the published costs itself."""
