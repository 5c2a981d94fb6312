-- The unit of every amount, last, so that questions written before go on.

CREATE VIEW balance_history AS
SELECT
    o.name AS organization,
    o.vendor_id,
    o.account,
    strftime('%Y-%m-%dT%H:%M:%S', s.taken_at / 1000000, 'unixepoch') || printf('.%06dZ', s.taken_at % 1000000) AS taken_at,
    s.credits / 1000000.0 AS credits,
    (
        s.credits - (
            SELECT p.credits FROM snapshots AS p
            WHERE p.organization_id = s.organization_id AND p.taken_at < s.taken_at
            ORDER BY p.taken_at DESC LIMIT 1
        )
    ) / 1000000.0 AS change,
    s.taken_at AS taken_us,
    o.unit
FROM organizations AS o
JOIN snapshots AS s ON s.organization_id = o.id;

CREATE VIEW balance_latest AS
SELECT
    o.name AS organization,
    o.vendor_id,
    o.title,
    o.account,
    o.credits / 1000000.0 AS credits,
    (o.credits - o.previous_credits) / 1000000.0 AS change,
    strftime('%Y-%m-%dT%H:%M:%S', o.taken_at / 1000000, 'unixepoch') || printf('.%06dZ', o.taken_at % 1000000) AS taken_at,
    strftime('%Y-%m-%dT%H:%M:%S', o.checked_at / 1000000, 'unixepoch') || printf('.%06dZ', o.checked_at % 1000000) AS checked_at,
    o.failure,
    o.failure_message,
    strftime('%Y-%m-%dT%H:%M:%S', o.failing_since / 1000000, 'unixepoch') || printf('.%06dZ', o.failing_since % 1000000) AS failing_since,
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
    d.snapshots,
    o.unit
FROM organizations AS o
JOIN balance_days AS d ON d.organization_id = o.id;

CREATE VIEW incident_history AS
SELECT
    i.id AS incident,
    o.name AS organization,
    coalesce(o.account, a.name) AS account,
    i.subject,
    i.rule,
    i.severity,
    i.worst_severity,
    strftime('%Y-%m-%dT%H:%M:%S', i.opened_at / 1000000, 'unixepoch') || printf('.%06dZ', i.opened_at % 1000000) AS opened_at,
    strftime('%Y-%m-%dT%H:%M:%S', i.resolved_at / 1000000, 'unixepoch') || printf('.%06dZ', i.resolved_at % 1000000) AS resolved_at,
    i.resolved_reason,
    i.opened_credits / 1000000.0 AS opened_credits,
    i.resolved_credits / 1000000.0 AS resolved_credits,
    o.unit
FROM incidents AS i
LEFT JOIN organizations AS o ON i.subject = 'organization' AND o.id = i.subject_id
LEFT JOIN accounts AS a ON i.subject = 'account' AND a.id = i.subject_id;
