"""`python -m monitor` is `credit-monitor`."""

from monitor.cli import main

main()
