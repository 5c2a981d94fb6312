"""The rows of the suite as a Markdown table."""

from tests.proofs.faults.suite import Row

HEAD = (
    "| fault | database | said | doubles | back after | log lines (distinct) | memory MiB | descriptors | held |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|---|"
)


def line(row: Row) -> str:
    """One row; what could not be shown says why."""
    if row.cannot:
        return f"| {row.name} | {row.database} | | | | | | | cannot be shown here: {row.cannot} |"
    if row.logged is None:
        return f"| {row.name} | {row.database} | | | | | | | **no** |"
    assert row.before
    assert row.after
    held = "**no**" if row.problems else "yes"
    if row.waits_for:
        held = f"waits for {row.waits_for}"
    return (
        f"| {row.name} | {row.database} | {row.demanded} | {row.doubles or ''} | {row.recovered:.1f} s "
        f"| {row.logged.lines} ({row.logged.distinct}) | {row.before.memory:.0f} → {row.after.memory:.0f} "
        f"| {row.before.descriptors} → {row.after.descriptors} | {held} |"
    )
