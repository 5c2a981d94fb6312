"""The real daemon in a world that goes wrong: each fault in turn and in combination, what held and what it cost.

From outside: the proofs see what the vendor is asked, what the receivers get, what the database holds, what
is logged, and what the kernel says of the process.
"""
