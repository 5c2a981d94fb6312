"""The real daemon, killed again and again while balances fall and receivers fail: nothing lost, nothing invented.

From outside: the proof sees what the vendor is asked, what the receivers get, and what the database holds.
"""
