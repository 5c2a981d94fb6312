"""Import of history: CSV rows, matched with organizations, loaded all or nothing."""

from monitor.importer.load import insert, prepare

__all__ = ["insert", "prepare"]
