"""Three real daemons on one real PostgreSQL; whoever leads is killed, stopped or cut off, again and again.

From outside: the proof sees what the vendor is asked, what the receivers get, and what the database holds.
"""
