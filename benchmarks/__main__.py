"""`make bench`: every table, one after the other."""

from benchmarks import cost, replay

cost.main()
replay.main()
