"""History from elsewhere: CSV rows, matched with organizations, loaded all or nothing."""

from monitor.importer.load import look_through, put_in

__all__ = ["look_through", "put_in"]
