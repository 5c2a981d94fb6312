-- Use by UTC day, from what is kept of each day; a change that spans midnight is shared out by time.

CREATE VIEW balance_usage_daily AS
SELECT
    o.name AS organization,
    date(d.starts_at / 1000000, 'unixepoch') AS day,
    d.used / 1000000.0 AS used,
    d.topped_up / 1000000.0 AS topped_up,
    d.first / 1000000.0 AS first,
    d.last / 1000000.0 AS last,
    d.lowest / 1000000.0 AS min,
    d.highest / 1000000.0 AS max,
    d.snapshots
FROM organizations AS o
JOIN balance_days AS d ON d.organization_id = o.id;
