"""One figure a file; each has `draw(view) -> Drawn`."""
