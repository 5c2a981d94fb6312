"""Who hears of a verdict, and how it gets there."""
