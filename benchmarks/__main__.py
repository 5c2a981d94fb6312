"""`make bench`: every table, one after the other."""

from benchmarks import cost, hysteresis, replay

cost.main()
replay.main()
hysteresis.main()
