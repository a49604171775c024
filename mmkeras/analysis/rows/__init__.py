"""Single rows: the worst, slices of them, and a map."""
