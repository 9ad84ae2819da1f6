"""The checks: one symptom, one file, in a folder for its family.

A check is a function `check` in a module of its own. It asks for evidence by argument name
(see `subject.ARGUMENTS`), returns Found, Clear or Skipped, reads nothing else and keeps
nothing. Its name is the file's (`dead_units.py` is `dead-units`), its page the module's
docstring. A new file in a family's folder is all that a new check needs.
"""
