-- What people read with psql.  The columns are those of SQLite's views, in PostgreSQL's own types.

CREATE VIEW balance_history AS
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
    ) AS change
FROM organizations AS o
JOIN snapshots AS s ON s.organization_id = o.id;

CREATE VIEW balance_latest AS
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
    ) AS state
FROM organizations AS o
WHERE o.watched;

CREATE VIEW balance_usage_daily AS
SELECT
    d.organization,
    d.day,
    d.used,
    d.topped_up,
    (SELECT s.credits FROM snapshots AS s WHERE s.organization_id = d.organization_id AND s.taken_at = d.first_at) AS first,
    (SELECT s.credits FROM snapshots AS s WHERE s.organization_id = d.organization_id AND s.taken_at = d.last_at) AS last,
    d.lowest AS min,
    d.highest AS max
FROM (
    SELECT
        c.organization,
        c.organization_id,
        c.day,
        coalesce(sum(greatest(-c.change, 0)), 0) AS used,
        coalesce(sum(greatest(c.change, 0)), 0) AS topped_up,
        min(c.taken_at) AS first_at,
        max(c.taken_at) AS last_at,
        min(c.credits) AS lowest,
        max(c.credits) AS highest
    FROM (
        SELECT
            o.name AS organization,
            o.id AS organization_id,
            (s.taken_at AT TIME ZONE 'UTC')::date AS day,
            s.taken_at,
            s.credits,
            s.credits - lag(s.credits) OVER (PARTITION BY o.name, o.id ORDER BY s.taken_at) AS change
        FROM organizations AS o
        JOIN snapshots AS s ON s.organization_id = o.id
    ) AS c
    GROUP BY c.organization, c.organization_id, c.day
) AS d;

CREATE VIEW incident_history AS
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
    i.resolved_credits
FROM incidents AS i
LEFT JOIN organizations AS o ON i.subject = 'organization' AND o.id = i.subject_id
LEFT JOIN accounts AS a ON i.subject = 'account' AND a.id = i.subject_id;

CREATE VIEW delivery_history AS
SELECT
    d.id AS delivery,
    n.id AS notification,
    h.incident,
    h.organization,
    h.account,
    h.rule,
    n.reason,
    n.severity,
    d.channel,
    d.state,
    d.attempts,
    n.created_at,
    d.ended_at,
    d.last_error
FROM deliveries AS d
JOIN notifications AS n ON n.id = d.notification_id
LEFT JOIN incident_history AS h ON h.incident = d.incident_id;
