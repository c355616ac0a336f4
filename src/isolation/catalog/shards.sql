SELECT coalesce(json_agg(json_build_object(
    'schema', n.nspname, 'table', t.relname, 'name', c.relname, 'rls', c.relrowsecurity, 'forced', c.relforcerowsecurity,
    'policies', coalesce((SELECT json_agg(json_build_object(
            'name', p.polname, 'permissive', p.polpermissive, 'command', p.polcmd, 'everybody', p.polroles = '{0}',
            'using', pg_catalog.pg_get_expr(p.polqual, p.polrelid), 'check', pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)))
        FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid), '[]'))), '[]')
FROM pg_catalog.pg_dist_shard s
JOIN pg_catalog.pg_class t ON t.oid = s.logicalrelid JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
-- `shard_name` writes every schema but `public`. The names are compared, because looking one up needs a privilege.
CROSS JOIN LATERAL pg_catalog.parse_ident(pg_catalog.shard_name(s.logicalrelid, s.shardid)) shard(parts)
JOIN pg_catalog.pg_namespace m ON m.nspname = CASE array_length(shard.parts, 1) WHEN 2 THEN shard.parts[1] ELSE 'public' END
JOIN pg_catalog.pg_class c ON c.relnamespace = m.oid AND c.relname = shard.parts[array_length(shard.parts, 1)]
