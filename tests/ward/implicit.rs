//! Functions that are called without looking like a call, each planted by itself.

use tenancy::isolation::doctor::Check;

use super::cases::{Case, case};

/// A function that takes one argument, found by its name.
macro_rules! taking {
    ($before:literal, $argument:literal) => {
        concat!(
            $before,
            "CREATE FUNCTION history(",
            $argument,
            ") RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM projects'"
        )
    };
}

const HISTORY: &[(Check, &str)] = &[(Check::ImplicitFunction, "history")];

pub const IMPLICIT: &[Case] = &[
    // `o.history`, where `o` is a row.
    case(taking!("", "orders"), HISTORY),
    case(taking!("", "open_orders"), HISTORY),
    case(taking!("", "countries"), HISTORY),
    case("CREATE FUNCTION history(record) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'", HISTORY),
    case(taking!("", "anyelement"), HISTORY),
    case(taking!("", "anycompatible"), HISTORY),
    case(taking!("", "orders, n int DEFAULT 1"), HISTORY),
    case(taking!("", "o orders DEFAULT NULL"), HISTORY),
    case(taking!("", "VARIADIC orders[]"), HISTORY),
    case(taking!("", "VARIADIC anyarray"), HISTORY),
    // A row of a child or a partition is one of its parent; and a domain takes what is below it.
    case(taking!("REVOKE ALL ON documents FROM {app}; ", "documents"), HISTORY),
    case(taking!("CREATE DOMAIN an_order AS orders; ", "an_order"), HISTORY),
    case(
        "CREATE TYPE place AS (code text); CREATE TABLE places OF place; GRANT SELECT ON places TO {app};
         CREATE FUNCTION history(place) RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
        &[(Check::MissingTenantColumn, "places"), (Check::ImplicitFunction, "history")],
    )
    .fixed_by("DROP TABLE places"),
    case(
        "CREATE FUNCTION more(bigint, orders) RETURNS bigint LANGUAGE sql AS 'SELECT $1 + 1';
         CREATE AGGREGATE history(orders) (SFUNC = more, STYPE = bigint, INITCOND = '0')",
        HISTORY,
    ),
    case(
        "CREATE FUNCTION told(orders) RETURNS bigint LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION told(orders) FROM PUBLIC;
         CREATE CAST (orders AS bigint) WITH FUNCTION told(orders) AS IMPLICIT;
         CREATE FUNCTION history(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM projects'",
        HISTORY,
    ),
    case(
        "CREATE SCHEMA hidden; GRANT USAGE ON SCHEMA hidden TO {app};
         CREATE FUNCTION hidden.history(orders) RETURNS bigint LANGUAGE sql AS 'SELECT 1';
         REVOKE EXECUTE ON FUNCTION hidden.history(orders) FROM PUBLIC; GRANT EXECUTE ON FUNCTION hidden.history(orders) TO {app}",
        &[(Check::ImplicitFunction, "hidden.history")],
    ),
    case(
        "RESET ROLE; CREATE FUNCTION pg_catalog.history(orders) RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
        &[(Check::ImplicitFunction, "pg_catalog.history")],
    ),
    // What is no finding: listed, not executable, no row that the role reads, several arguments, a trigger's.
    case(
        "CREATE FUNCTION known_report(orders) RETURNS bigint LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION kept(orders) RETURNS bigint LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION kept(orders) FROM PUBLIC;
         CREATE FUNCTION far(for_the_owner) RETURNS bigint LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION two(orders, int) RETURNS bigint LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION scalar(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1';
         CREATE PROCEDURE proc(orders) LANGUAGE sql AS 'SELECT 1';
         CREATE TYPE pair AS (a int, b int); CREATE FUNCTION of_pair(pair) RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE OPERATOR === (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = uuid_eq);
         CREATE DOMAIN short AS text CHECK (length(VALUE) < 5)",
        &[],
    ),
    // By the name of a function of the server, for arguments that fit it better; or like a field of a type.
    case(
        "CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT name::text FROM projects'",
        &[(Check::ImplicitFunction, "lower")],
    ),
    case(
        "CREATE FUNCTION coalesce_all(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
         CREATE FUNCTION version(int) RETURNS text LANGUAGE sql AS 'SELECT name::text FROM projects';
         CREATE SCHEMA hidden; CREATE FUNCTION hidden.lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT 1'",
        &[],
    ),
    case(
        "CREATE FUNCTION street(text) RETURNS text LANGUAGE sql AS 'SELECT name::text FROM projects'",
        &[(Check::ImplicitFunction, "street")],
    ),
    // Casts, operators and domains.
    case(
        "CREATE TYPE pair AS (a int, b int); CREATE FUNCTION told(pair) RETURNS text LANGUAGE sql AS 'SELECT name FROM projects';
         CREATE CAST (pair AS text) WITH FUNCTION told(pair)",
        &[(Check::ImplicitFunction, "told")],
    ),
    case(
        "RESET ROLE; CREATE CAST (oid AS bytea) WITH FUNCTION pg_catalog.lo_get(oid) AS ASSIGNMENT",
        &[(Check::ImplicitFunction, "pg_catalog.lo_get")],
    ),
    case(
        "CREATE FUNCTION reads(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true FROM projects';
         CREATE OPERATOR public.### (LEFTARG = text, RIGHTARG = text, FUNCTION = reads)",
        &[(Check::ImplicitFunction, "reads")],
    ),
    case(
        "CREATE OPERATOR public.### (RIGHTARG = oid, FUNCTION = pg_catalog.lo_get)",
        &[(Check::ImplicitFunction, "pg_catalog.lo_get")],
    ),
    case(
        "CREATE FUNCTION fits(text) RETURNS boolean LANGUAGE sql AS 'SELECT count(*) > 0 FROM projects';
         CREATE DOMAIN fitting AS text CHECK (fits(VALUE))",
        &[(Check::ImplicitFunction, "fits")],
    ),
    // Support functions, which no right keeps the role from.
    case(
        "RESET ROLE; CREATE TYPE plain; CREATE FUNCTION plain_in(cstring) RETURNS plain LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION plain_out(plain) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
         REVOKE EXECUTE ON FUNCTION plain_in(cstring), plain_out(plain) FROM PUBLIC;
         CREATE TYPE plain (INPUT = plain_in, OUTPUT = plain_out)",
        &[(Check::ImplicitFunction, "plain_in"), (Check::ImplicitFunction, "plain_out")],
    )
    .fixed_by("RESET ROLE; DROP TYPE plain CASCADE"),
    case(
        "CREATE FUNCTION distance(text, text) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT 1';
         CREATE TYPE words AS RANGE (SUBTYPE = text, SUBTYPE_DIFF = distance)",
        &[(Check::ImplicitFunction, "distance")],
    )
    .fixed_by("DROP TYPE words CASCADE; DROP FUNCTION distance"),
    case(
        "RESET ROLE; CREATE FUNCTION compares(text, text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0';
         CREATE OPERATOR CLASS words FOR TYPE text USING btree AS OPERATOR 3 =, FUNCTION 1 compares(text, text)",
        &[(Check::ImplicitFunction, "compares")],
    )
    .fixed_by("RESET ROLE; DROP OPERATOR FAMILY words USING btree; DROP FUNCTION compares"),
];
