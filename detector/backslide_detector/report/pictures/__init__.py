"""One picture, one file: pure functions from data to SVG.

Colours are CSS classes of the page, so that one drawing serves light, dark and paper.
"""
