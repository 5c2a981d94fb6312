"""Speed and memory, measured side by side in one run because machines differ; never part of the tests."""
