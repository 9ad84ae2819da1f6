"""backslide in one line, in the frameworks people train with.

Each module imports its framework, so import the one you use:
`backslide.integrations.lightning`, `.huggingface`, `.accelerate`.
"""
