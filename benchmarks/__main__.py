"""`make bench`: every table, one after the other."""

from benchmarks import cost

cost.main()
