-- Statements as services on PostgreSQL write them: each is meant to be accepted as it is.

-- Reads by a key, lists, pages.
SELECT 1;
SELECT id, email, name FROM users WHERE id = $1;
SELECT * FROM users WHERE lower(email) = lower($1) AND deleted_at IS NULL;
SELECT EXISTS (SELECT 1 FROM users WHERE email = $1) AS "exists!";
SELECT count(*) FROM tasks WHERE project_id = $1 AND status <> 'done';
SELECT id, title FROM tasks WHERE project_id = $1 ORDER BY position, id LIMIT $2 OFFSET $3;
SELECT id, title, created_at FROM tasks WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT 50;
SELECT id, title, count(*) OVER () AS total FROM tasks WHERE status = $1::task_status ORDER BY created_at DESC LIMIT 20;
SELECT id, title FROM tasks WHERE id = ANY($1) ORDER BY array_position($1, id);
SELECT id, name FROM projects WHERE archived_at IS NULL AND ($1::text IS NULL OR name ILIKE '%' || $1 || '%') ORDER BY name;
SELECT DISTINCT ON (task_id) task_id, body, created_at FROM comments ORDER BY task_id, created_at DESC;
SELECT t.id, t.title, coalesce(u.name, 'nobody') AS assignee FROM tasks t LEFT JOIN users u ON u.id = t.assignee_id WHERE t.project_id = $1;
SELECT name FROM countries WHERE code = $1;
SELECT settings ->> 'locale' AS locale FROM tenants;
SELECT u.id, u.email, (u.home).city FROM users u WHERE (u.home).city IS NOT NULL;

-- Joins over several tables.
SELECT p.name, u.email AS owner, count(t.id) AS open_tasks FROM projects p LEFT JOIN users u ON u.id = p.owner_id LEFT JOIN tasks t ON t.project_id = p.id AND t.status = 'open' GROUP BY p.name, u.email ORDER BY open_tasks DESC;
SELECT o.number, c.name, i.line, pr.name AS product, i.quantity * i.price_cents AS amount FROM orders o JOIN customers c ON c.id = o.customer_id JOIN order_items i ON i.order_id = o.id JOIN products pr ON pr.sku = i.sku WHERE o.id = $1 ORDER BY i.line;
SELECT u.id, u.name, array_agg(t.name ORDER BY t.name) AS teams FROM users u JOIN members m ON m.user_id = u.id JOIN teams t ON t.id = m.team_id GROUP BY u.id, u.name HAVING count(*) > 1;
SELECT c.id, c.email FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND o.placed_at > now() - interval '1 year');
SELECT t.id, t.title, l.last_comment FROM tasks t LEFT JOIN LATERAL (SELECT max(c.created_at) AS last_comment FROM comments c WHERE c.task_id = t.id) l ON true WHERE t.assignee_id = $1;
SELECT a.id, b.id AS duplicate FROM customers a JOIN customers b ON lower(a.email) = lower(b.email) AND a.id < b.id;
SELECT c.name, n.name AS country FROM customers c JOIN countries n ON n.code = c.country WHERE n.vat > $1;
SELECT t.id FROM tasks t WHERE t.id IN (SELECT task_id FROM task_labels WHERE label_id = $1) AND t.assignee_id IS DISTINCT FROM $2;
SELECT i.id, i.number, i.amount_cents - coalesce(sum(p.amount_cents), 0) AS due FROM invoices i LEFT JOIN payments p ON p.invoice_id = i.id WHERE i.paid_at IS NULL AND i.due_on < current_date GROUP BY i.id, i.number, i.amount_cents;

-- CTEs, window functions, set operations.
WITH RECURSIVE tree AS (SELECT id, parent_id, title, 1 AS depth FROM tasks WHERE id = $1 UNION ALL SELECT t.id, t.parent_id, t.title, tree.depth + 1 FROM tasks t JOIN tree ON t.parent_id = tree.id WHERE tree.depth < 20) SELECT id, title, depth FROM tree ORDER BY depth;
WITH latest AS (SELECT task_id, max(created_at) AS at FROM comments GROUP BY task_id) SELECT t.id, t.title, latest.at FROM tasks t JOIN latest ON latest.task_id = t.id ORDER BY latest.at DESC LIMIT 10;
WITH monthly AS (SELECT date_trunc('month', placed_at) AS month, sum(total_cents) AS revenue FROM orders WHERE status = 'paid' GROUP BY 1) SELECT month, revenue, sum(revenue) OVER (ORDER BY month ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS last_three, lag(revenue) OVER (ORDER BY month) AS before FROM monthly ORDER BY month;
SELECT id, title, row_number() OVER (PARTITION BY project_id ORDER BY priority DESC, created_at) AS rank FROM tasks;
SELECT * FROM (SELECT id, sku, quantity, rank() OVER (PARTITION BY sku ORDER BY quantity DESC) AS r FROM order_items JOIN orders ON orders.id = order_items.order_id) ranked WHERE r <= 3;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total_cents) AS median, avg(total_cents)::bigint AS mean FROM orders WHERE placed_at >= $1 AND placed_at < $2;
SELECT first_value(value) OVER w AS opening, last_value(value) OVER w AS closing FROM readings WINDOW w AS (PARTITION BY sensor ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING);
SELECT 'task' AS kind, id::text, created_at FROM tasks UNION ALL SELECT 'comment', id::text, created_at FROM comments ORDER BY created_at DESC LIMIT 30;
SELECT user_id FROM sessions INTERSECT SELECT user_id FROM notifications WHERE read_at IS NULL;
SELECT email FROM customers EXCEPT SELECT email FROM users;
SELECT d::date AS day, coalesce(count(o.id), 0) AS orders FROM generate_series($1::date, $2::date, interval '1 day') AS d LEFT JOIN orders o ON o.placed_at::date = d::date GROUP BY d ORDER BY d;
SELECT status, count(*) FILTER (WHERE priority > 2) AS urgent, count(*) AS all FROM tasks GROUP BY GROUPING SETS ((status), ());
SELECT CASE WHEN total_cents < 1000 THEN 'small' WHEN total_cents < 10000 THEN 'medium' ELSE 'large' END AS size, count(*) FROM orders GROUP BY 1 ORDER BY 2 DESC;
SELECT date_bin('15 minutes', at, timestamptz '2020-01-01') AS slot, avg(value), min(value), max(value) FROM readings WHERE sensor = $1 AND at BETWEEN $2 AND $3 GROUP BY slot ORDER BY slot;
SELECT extract(isodow FROM placed_at) AS weekday, to_char(placed_at, 'HH24') AS hour, count(*) FROM orders GROUP BY 1, 2;
SELECT to_char(date(placed_at), 'YYYY-MM-DD') AS day, sum(total_cents) FROM orders GROUP BY date(placed_at) ORDER BY day;
WITH dead AS (DELETE FROM sessions WHERE expires_at < now() RETURNING user_id) SELECT count(DISTINCT user_id) FROM dead;

-- Inserts and upserts.
INSERT INTO users (email, name, password_hash) VALUES ($1, $2, $3) RETURNING id, created_at;
INSERT INTO tasks (project_id, title, body, tags, due) VALUES ($1, $2, $3, $4, $5) RETURNING *;
INSERT INTO comments (task_id, author_id, body) SELECT id, $2, $3 FROM tasks WHERE id = $1 RETURNING id;
INSERT INTO labels (name, color) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET color = excluded.color RETURNING id;
INSERT INTO labels (name) VALUES ($1) ON CONFLICT DO NOTHING;
INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value WHERE settings.value IS DISTINCT FROM EXCLUDED.value;
INSERT INTO usage (day, metric, amount) VALUES (current_date, $1, $2) ON CONFLICT (day, metric) DO UPDATE SET amount = usage.amount + excluded.amount RETURNING amount;
INSERT INTO users (email, name) VALUES ($1, $2) ON CONFLICT (lower(email)) WHERE deleted_at IS NULL DO UPDATE SET name = excluded.name RETURNING id, (xmax = 0) AS inserted;
INSERT INTO products AS p (sku, name, price_cents, stock) VALUES ($1, $2, $3, $4) ON CONFLICT (sku) DO UPDATE SET price_cents = excluded.price_cents, stock = p.stock + excluded.stock, updated_at = now();
INSERT INTO members (team_id, user_id, role) SELECT $1, unnest($2::uuid[]), 'member' ON CONFLICT DO NOTHING;
INSERT INTO task_labels (task_id, label_id) SELECT $1, l.id FROM labels l WHERE l.name = ANY($2) ON CONFLICT DO NOTHING;
INSERT INTO order_items (order_id, line, sku, quantity, price_cents) SELECT $1, x.line, x.sku, x.quantity, p.price_cents FROM unnest($2::int[], $3::text[], $4::int[]) AS x (line, sku, quantity) JOIN products p ON p.sku = x.sku;
INSERT INTO readings (sensor, at, value) SELECT * FROM unnest($1::int[], $2::timestamptz[], $3::float8[]);
INSERT INTO events (kind, actor_id, data) VALUES ($1, $2, jsonb_build_object('ip', $3::text, 'path', $4::text));
INSERT INTO notifications (user_id, kind, body) SELECT m.user_id, 'mention', $2 FROM members m WHERE m.team_id = $1 AND m.user_id <> $3;
INSERT INTO drafts DEFAULT VALUES RETURNING id;
INSERT INTO sessions (id, user_id, token_hash, ip, expires_at) VALUES ($1, $2, decode($3, 'hex'), $4::inet, now() + make_interval(days => 30));
INSERT INTO jobs (kind, payload, run_at) VALUES ($1, $2, now() + $3 * interval '1 second') RETURNING id;
INSERT INTO invoices (order_id, number, amount_cents, due_on) SELECT o.id, coalesce((SELECT max(number) FROM invoices), 0) + 1, o.total_cents, current_date + 14 FROM orders o WHERE o.id = $1;
INSERT INTO iam.user (email) VALUES ($1) RETURNING id;
WITH o AS (INSERT INTO orders (number, customer_id, total_cents) VALUES ($1, $2, $3) RETURNING id) INSERT INTO order_items (order_id, line, sku, quantity, price_cents) SELECT o.id, 1, $4, $5, $6 FROM o;

-- Updates.
UPDATE users SET last_login = now(), login_count = login_count + 1 WHERE id = $1;
UPDATE users SET name = coalesce($2, name), role = coalesce($3, role), updated_at = now() WHERE id = $1 RETURNING *;
UPDATE tasks SET status = $2, version = version + 1 WHERE id = $1 AND version = $3 RETURNING version;
UPDATE tasks SET position = x.position FROM unnest($1::bigint[], $2::int[]) AS x (id, position) WHERE tasks.id = x.id;
UPDATE tasks SET position = position + 1 WHERE project_id = $1 AND position >= $2;
UPDATE tasks SET tags = array_append(tags, $2) WHERE id = $1 AND NOT ($2 = ANY(tags));
UPDATE tasks SET search = setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', coalesce(body, '')), 'B') WHERE id = $1;
UPDATE users SET settings = jsonb_set(settings, '{theme}', to_jsonb($2::text)) WHERE id = $1;
UPDATE users SET settings = settings || $2::jsonb, updated_at = now() WHERE id = $1;
UPDATE users SET settings = settings - 'beta' WHERE settings ? 'beta';
UPDATE products SET stock = stock - i.quantity FROM order_items i WHERE i.order_id = $1 AND products.sku = i.sku AND products.stock >= i.quantity RETURNING products.sku, products.stock;
UPDATE orders SET total_cents = (SELECT coalesce(sum(quantity * price_cents), 0) FROM order_items WHERE order_id = orders.id) WHERE id = $1;
UPDATE orders SET (status, shipped_at) = ('shipped', now()) WHERE id = $1 AND status = 'paid';
UPDATE jobs SET status = 'running', locked_by = $1, locked_at = now(), attempts = attempts + 1 WHERE id = (SELECT id FROM jobs WHERE status = 'queued' AND run_at <= now() ORDER BY priority DESC, run_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id, kind, payload;
UPDATE notifications SET read_at = now() WHERE user_id = $1 AND read_at IS NULL;
UPDATE products SET prefs['color'] = to_jsonb($2::text) WHERE sku = $1;
UPDATE tasks SET priority = CASE id WHEN $1 THEN 1 WHEN $2 THEN 2 ELSE priority END WHERE id IN ($1, $2);
UPDATE tenants SET name = $1, settings = $2;
WITH done AS (UPDATE tasks SET status = 'done' WHERE parent_id = $1 RETURNING id) INSERT INTO events (kind, data) SELECT 'task.done', jsonb_build_object('id', id) FROM done;

-- Deletes.
DELETE FROM comments WHERE id = $1 AND author_id = $2;
DELETE FROM tasks USING projects p WHERE tasks.project_id = p.id AND p.archived_at < now() - interval '90 days';
DELETE FROM sessions WHERE expires_at < now();
DELETE FROM task_labels WHERE (task_id, label_id) IN (SELECT $1::bigint, l.id FROM labels l WHERE l.name = ANY($2));
DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE status = 'done' ORDER BY run_at LIMIT 1000);
WITH moved AS (DELETE FROM notifications WHERE created_at < now() - interval '1 month' RETURNING *) SELECT count(*) FROM moved;

-- MERGE.
MERGE INTO products p USING (SELECT unnest($1::text[]) AS sku, unnest($2::int[]) AS stock) s ON p.sku = s.sku WHEN MATCHED THEN UPDATE SET stock = s.stock WHEN NOT MATCHED THEN INSERT (sku, name, price_cents, stock) VALUES (s.sku, s.sku, 0, s.stock);
WITH s AS (SELECT sku, sum(quantity) AS sold FROM order_items GROUP BY sku) MERGE INTO products p USING s ON p.sku = s.sku WHEN MATCHED THEN UPDATE SET stock = p.stock - s.sold;

-- Locks.
SELECT sku, stock FROM products WHERE sku = ANY($1) ORDER BY sku FOR UPDATE;
SELECT id FROM orders WHERE id = $1 FOR NO KEY UPDATE;
SELECT id FROM customers WHERE id = $1 FOR KEY SHARE;
SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.id = $1 FOR UPDATE OF o NOWAIT;
SELECT id, payload FROM jobs WHERE status = 'queued' ORDER BY run_at FOR UPDATE SKIP LOCKED LIMIT 10;

-- JSON, arrays, ranges, full text.
SELECT id, data ->> 'path' AS path FROM events WHERE data @> $1::jsonb ORDER BY at DESC LIMIT 100;
SELECT key, value FROM users, jsonb_each_text(settings) AS s (key, value) WHERE id = $1;
SELECT sku, attrs #>> '{dimensions,width}' AS width FROM products WHERE attrs ? 'dimensions' AND (attrs -> 'tags') ?| $1;
SELECT o.id, jsonb_agg(jsonb_build_object('sku', i.sku, 'quantity', i.quantity) ORDER BY i.line) AS items FROM orders o JOIN order_items i ON i.order_id = o.id GROUP BY o.id;
SELECT json_build_object('id', p.id, 'tasks', (SELECT coalesce(json_agg(row_to_json(t)), '[]') FROM (SELECT id, title FROM tasks WHERE tasks.project_id = p.id) t)) FROM projects p WHERE p.slug = $1;
SELECT x.value ->> 'name' AS name FROM orders, jsonb_array_elements(meta -> 'attachments') WITH ORDINALITY AS x (value, n) WHERE id = $1 ORDER BY x.n;
SELECT jsonb_path_query(meta, '$.lines[*] ? (@.qty > 1)') FROM orders WHERE id = $1;
SELECT unnest(tags) AS tag, count(*) FROM tasks GROUP BY tag ORDER BY count(*) DESC LIMIT 20;
SELECT id, title FROM tasks WHERE tags && $1::text[] AND NOT tags @> ARRAY['archived'];
SELECT id, title FROM tasks WHERE title LIKE ANY ($1);
SELECT id, name FROM customers WHERE name ILIKE ANY (ARRAY[$1, $2]);
SELECT id, ts_rank(search, q) AS score, ts_headline('english', body, q) AS excerpt FROM tasks, websearch_to_tsquery('english', $1) q WHERE search @@ q ORDER BY score DESC LIMIT 20;
SELECT id FROM tasks WHERE to_tsvector('english'::regconfig, title || ' ' || coalesce(body, '')) @@ plainto_tsquery('english', $1);
SELECT id FROM bookings WHERE room = $1 AND during && tstzrange($2, $3) LIMIT 1;
SELECT lower(during) AS starts, upper(during) AS ends FROM bookings WHERE during @> now();
SELECT phone FROM customers WHERE phone ~ '^\+49' AND regexp_replace(phone, '[^0-9]', '', 'g') = $1;
SELECT id, ip, host(ip) FROM sessions WHERE ip << '10.0.0.0/8'::inet;
SELECT string_agg(DISTINCT country, ', ' ORDER BY country) FROM customers;
SELECT id, encode(token_hash, 'hex') FROM sessions WHERE token_hash = sha256($1);
SELECT now() AT TIME ZONE 'Europe/Berlin' AS local, age(created_at) AS age FROM tenants;
SELECT EXTRACT(EPOCH FROM (max(at) - min(at))) AS seconds FROM readings WHERE sensor = $1;
SELECT id FROM tasks WHERE due < current_date AND status IN ('open', 'doing') AND created_at > now() - make_interval(days := $1);
SELECT nullif(trim(name), '') AS name, left(email, 1) || '***' AS masked FROM customers;
SELECT greatest(stock, 0), round(price_cents / 100.0, 2) FROM products TABLESAMPLE SYSTEM (10);
SELECT u.id, u.email FROM iam.user u WHERE u.active;
SELECT o.id, iam.user.email FROM app.order o JOIN iam.user ON iam.user.id = o.user_id;
SELECT v.id, iam.between.email FROM iam.values v JOIN iam.between ON iam.between.id = v.id;
UPDATE iam.values SET email = $1 WHERE iam.values.id = $2 RETURNING iam.values.id;
DELETE FROM iam.between WHERE EXISTS (SELECT 1 FROM iam.exists WHERE iam.exists.id = iam.between.id AND iam.exists.email ISNULL);
SELECT iam.isnull.id FROM iam.isnull WHERE email NOTNULL;
INSERT INTO iam.values (id, email) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET email = excluded.email;
INSERT INTO labels (name) SELECT $1 UNION (SELECT $2) ON CONFLICT DO NOTHING;
INSERT INTO labels (name) SELECT $1 EXCEPT (SELECT name FROM labels) ON CONFLICT (name) DO UPDATE SET color = excluded.color;
SELECT id, ARRAY[]::record[] AS steps FROM jobs WHERE hashtext(kind) % 8 = $1 AND hashtextextended(kind, 0) > 0;
SELECT gen_random_uuid();
SELECT id, amount_cents FROM invoices WHERE issued_on >= date_trunc('quarter', current_date) AND issued_on < date_trunc('quarter', current_date) + interval '3 months';
SELECT u.* FROM users u WHERE u.id IN (SELECT user_id FROM members WHERE team_id = $1 AND role IN ('owner', 'admin')) ORDER BY u.name COLLATE "C" NULLS LAST;
INSERT INTO customers (tenant_id, email, name) VALUES ($1, $2, $3) RETURNING id;
SELECT nextval('invoice_numbers');
