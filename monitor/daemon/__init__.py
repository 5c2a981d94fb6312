"""The daemon: the process, its leadership, and what tells of it outside."""
