-- What people read with sqlite3.  Instants become ISO 8601 text in UTC, micro-credits become numbers.

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
    s.taken_at AS taken_us
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
    ) AS state
FROM organizations AS o
WHERE o.watched;

CREATE VIEW balance_usage_daily AS
SELECT
    d.organization,
    d.day,
    d.used / 1000000.0 AS used,
    d.topped_up / 1000000.0 AS topped_up,
    (SELECT s.credits FROM snapshots AS s WHERE s.organization_id = d.organization_id AND s.taken_at = d.first_at) / 1000000.0 AS first,
    (SELECT s.credits FROM snapshots AS s WHERE s.organization_id = d.organization_id AND s.taken_at = d.last_at) / 1000000.0 AS last,
    d.lowest / 1000000.0 AS min,
    d.highest / 1000000.0 AS max
FROM (
    SELECT
        c.organization,
        c.organization_id,
        c.day,
        coalesce(sum(max(-c.change, 0)), 0) AS used,
        coalesce(sum(max(c.change, 0)), 0) AS topped_up,
        min(c.taken_at) AS first_at,
        max(c.taken_at) AS last_at,
        min(c.credits) AS lowest,
        max(c.credits) AS highest
    FROM (
        SELECT
            o.name AS organization,
            o.id AS organization_id,
            date(s.taken_at / 1000000, 'unixepoch') AS day,
            s.taken_at,
            s.credits,
            s.credits - (
                SELECT p.credits FROM snapshots AS p
                WHERE p.organization_id = s.organization_id AND p.taken_at < s.taken_at
                ORDER BY p.taken_at DESC LIMIT 1
            ) AS change
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
    strftime('%Y-%m-%dT%H:%M:%S', i.opened_at / 1000000, 'unixepoch') || printf('.%06dZ', i.opened_at % 1000000) AS opened_at,
    strftime('%Y-%m-%dT%H:%M:%S', i.resolved_at / 1000000, 'unixepoch') || printf('.%06dZ', i.resolved_at % 1000000) AS resolved_at,
    i.resolved_reason,
    i.opened_credits / 1000000.0 AS opened_credits,
    i.resolved_credits / 1000000.0 AS resolved_credits
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
    strftime('%Y-%m-%dT%H:%M:%S', n.created_at / 1000000, 'unixepoch') || printf('.%06dZ', n.created_at % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', d.ended_at / 1000000, 'unixepoch') || printf('.%06dZ', d.ended_at % 1000000) AS ended_at,
    d.last_error
FROM deliveries AS d
JOIN notifications AS n ON n.id = d.notification_id
LEFT JOIN incident_history AS h ON h.incident = d.incident_id;
