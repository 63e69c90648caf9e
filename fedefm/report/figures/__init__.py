"""The report's figures, each a function from plain values to one inline SVG."""
