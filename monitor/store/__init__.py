"""The database, SQLite or PostgreSQL: one file for each table's noun.

Functions take a `Transaction` and do not commit.  Only this package and `query` use SQLAlchemy.
"""
