"""Three real daemons on one real PostgreSQL; whoever leads is killed, stopped or cut off, again and again.

Refuses to look into the daemons: it sees what the vendor is asked, what the receivers get, and what the database holds.
"""
