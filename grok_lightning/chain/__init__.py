"""A recipe becomes runs: read, checked, planned, trained one after another, reported. Knows nothing of arithmetic."""
