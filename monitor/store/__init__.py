"""What is kept: snapshots, current rows, incidents and the outbox, on SQLite and PostgreSQL alike.

SQLAlchemy's home.  One file for each table's noun; functions take a `Transaction` and commit nothing themselves.
"""
