-- Use by UTC day, from what is kept of each day; a change that spans midnight is shared out by time.

CREATE VIEW balance_usage_daily AS
SELECT
    o.name AS organization,
    (d.starts_at AT TIME ZONE 'UTC')::date AS day,
    d.used,
    d.topped_up,
    d.first,
    d.last,
    d.lowest AS min,
    d.highest AS max,
    d.snapshots
FROM organizations AS o
JOIN balance_days AS d ON d.organization_id = o.id;
