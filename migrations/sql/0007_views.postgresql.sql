-- The unit of every amount, last, so that questions written before go on.  What people built on these views stays.

CREATE OR REPLACE VIEW balance_history AS
SELECT
    o.name AS organization,
    o.vendor_id,
    o.account,
    s.taken_at,
    s.credits,
    s.credits - (
        SELECT p.credits FROM snapshots AS p
        WHERE p.organization_id = s.organization_id AND p.taken_at < s.taken_at
        ORDER BY p.taken_at DESC LIMIT 1
    ) AS change,
    o.unit
FROM organizations AS o
JOIN snapshots AS s ON s.organization_id = o.id;

CREATE OR REPLACE VIEW balance_latest AS
SELECT
    o.name AS organization,
    o.vendor_id,
    o.title,
    o.account,
    o.credits,
    o.credits - o.previous_credits AS change,
    o.taken_at,
    o.checked_at,
    o.failure,
    o.failure_message,
    o.failing_since,
    coalesce(
        (
            SELECT i.severity FROM incidents AS i
            WHERE i.subject = 'organization' AND i.subject_id = o.id AND i.resolved_at IS NULL
            ORDER BY CASE i.severity WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END DESC LIMIT 1
        ),
        CASE WHEN o.taken_at IS NULL OR o.failure IS NOT NULL THEN 'unknown' ELSE 'ok' END
    ) AS state,
    o.unit
FROM organizations AS o
WHERE o.watched;

CREATE OR REPLACE VIEW balance_usage_daily AS
SELECT
    o.name AS organization,
    (d.starts_at AT TIME ZONE 'UTC')::date AS day,
    d.used,
    d.topped_up,
    d.first,
    d.last,
    d.lowest AS min,
    d.highest AS max,
    d.snapshots,
    o.unit
FROM organizations AS o
JOIN balance_days AS d ON d.organization_id = o.id;

CREATE OR REPLACE VIEW incident_history AS
SELECT
    i.id AS incident,
    o.name AS organization,
    coalesce(o.account, a.name) AS account,
    i.subject,
    i.rule,
    i.severity,
    i.worst_severity,
    i.opened_at,
    i.resolved_at,
    i.resolved_reason,
    i.opened_credits,
    i.resolved_credits,
    o.unit
FROM incidents AS i
LEFT JOIN organizations AS o ON i.subject = 'organization' AND o.id = i.subject_id
LEFT JOIN accounts AS a ON i.subject = 'account' AND a.id = i.subject_id;
