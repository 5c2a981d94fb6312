"""Proofs on the real daemon: minutes to hours each, so `make` runs them by name and pytest does not collect them."""
