"""`make bench`: every table, one after the other."""

from benchmarks import cost, described, hysteresis, replay

cost.main()
described.main()
replay.main()
hysteresis.main()
