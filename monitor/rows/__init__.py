"""What commands print with `--format json` and the API answers: one function for each, so that both say the same.

Imports nothing here: `encode` is loaded by every command, `--help` too.
"""
