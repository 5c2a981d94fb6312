"""Ten million balances of a thousand organizations: what people ask of them, beside the plain way to keep them.

Never part of the tests; touches no database but those it makes.
"""
