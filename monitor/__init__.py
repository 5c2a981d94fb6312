"""credit-monitor: watches prepaid credits and tells the right people before they run out."""

__version__ = "0.1.0"
