//! The built-in functions that read nothing but their arguments.
//!
//! This is an allow list: a deny list cannot contain the functions that users define. It leaves out every function
//! that reads a table, a file, a sequence, a session or the catalogue, runs text as SQL, waits, or takes locks.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::dialect::Dialect;

/// The reason why no declaration can allow the function of this name; `None` if it can be declared. The name is in
/// lower case and without its schema.
pub(crate) fn forbidden_reason(name: &str) -> Option<&'static str> {
    NEVER
        .iter()
        .find(|(_, names)| {
            names.split_whitespace().any(|listed| match listed.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => listed == name,
            })
        })
        .map(|(why, _)| *why)
}

/// Functions that no declaration allows, by name or by prefix.
const NEVER: &[(&str, &str)] = &[
    ("changes the settings of the session, and the tenant is one of them", "set_config pg_reload_conf"),
    (
        "changes the state of the session, which other tenants use later",
        "pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared pg_advisory_unlock* \
         pg_replication_origin_session* setseed set_limit get_lock release_lock release_all_locks last_insert_id",
    ),
    (
        "reads what other tenants left in the session",
        "lastval currval last_insert_rowid found_rows row_count",
    ),
    (
        "ends, controls or shows other sessions",
        "pg_stat_get_* pg_stat_statements pgrowlocks \
         pg_terminate_backend pg_cancel_backend pg_log_backend_memory_contexts",
    ),
    (
        "reads or writes files of the server",
        "pg_read_file pg_read_binary_file pg_ls_* pg_stat_file pg_file_* load_file load_extension readfile writefile fsdir \
         pg_logdir_ls pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings xslt_process get_raw_page* heap_page_items \
         pg_current_logfile pg_rotate_logfile",
    ),
    (
        "reads large objects, which have no tenant",
        "lo_get lo_put lo_open lo_close lo_creat lo_create lo_unlink lo_from_bytea lo_lseek* lo_tell* lo_truncate* lo_import \
         lo_export lo_manage loread lowrite",
    ),
    (
        "runs text as SQL, on this connection or another",
        "query_to_xml* cursor_to_xml* table_to_xml* schema_to_xml* database_to_xml* ts_stat ts_rewrite dblink* crosstab* \
         connectby xpath_table sys_eval sys_exec spider_* pg_background_* fts3_tokenizer",
    ),
    (
        "controls the whole server",
        "pg_switch_wal pg_create_* pg_drop_* pg_replication_* pg_logical_* pg_promote pg_wal_* pg_backup_* \
         pg_copy_* binary_upgrade_* pg_export_snapshot pg_import_system_collations pg_stat_reset* pg_stat_clear_snapshot",
    ),
];

/// Whether the built-in function of this name reads nothing but its arguments. Statements may call such functions
/// without a declaration.
pub fn is_pure(dialect: Dialect, name: &str) -> bool {
    static SETS: LazyLock<[HashSet<&str>; 3]> = LazyLock::new(|| {
        [POSTGRES, SQLITE, MYSQL].map(|own| COMMON.split_whitespace().chain(own.split_whitespace()).collect())
    });
    let names = &SETS[match dialect {
        Dialect::Postgres => 0,
        Dialect::Sqlite => 1,
        Dialect::MySql => 2,
    }];
    // Only built-in functions are in this schema.
    let name = match dialect {
        Dialect::Postgres => name.strip_prefix("pg_catalog.").unwrap_or(name),
        _ => name,
    };
    names.contains(name)
}

const COMMON: &str = "
abs acos asin atan atan2 avg ceil ceiling char_length character_length coalesce concat concat_ws cos count
cume_dist current_date current_time current_timestamp degrees dense_rank exp first_value floor lag last_value lead
ln log log10 lower ltrim max min mod nth_value ntile nullif octet_length percent_rank pi power radians rank replace
round row_number rtrim sign sin sqrt substr substring sum tan trim upper
";

const POSTGRES: &str = "
acosd acosh age any_value array array_agg array_append array_cat array_dims array_fill array_length array_lower
array_ndims array_position array_positions array_prepend array_remove array_replace array_sample array_shuffle
array_to_json array_to_string array_upper ascii asind asinh atan2d atand atanh bit_and bit_count bit_length bit_or
bit_xor bool_and bool_or broadcast btrim cardinality cbrt chr clock_timestamp convert convert_from convert_to corr
cosd cosh cot cotd covar_pop covar_samp date_bin date_part date_trunc decode div encode every extract factorial
family format gcd gen_random_uuid generate_series generate_subscripts get_bit get_byte greatest grouping host
hostmask inet_merge inet_same_family initcap isempty isfinite json_agg json_array_elements
json_array_elements_text json_array_length json_build_array json_build_object json_each json_each_text
json_extract_path json_extract_path_text json_object json_object_agg json_object_keys json_populate_record
json_populate_recordset json_strip_nulls json_to_record json_to_recordset json_typeof jsonb_agg
jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg
jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array
jsonb_path_query_first jsonb_populate_record jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax
jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof justify_days justify_hours justify_interval lcm
least left length localtime localtimestamp lower_inc lower_inf lpad make_date make_interval make_time
make_timestamp make_timestamptz masklen md5 min_scale mode multirange netmask network normalize now num_nonnulls
num_nulls numnode overlay parse_ident percentile_cont percentile_disc phraseto_tsquery plainto_tsquery position
quote_ident quote_literal quote_nullable random range_agg range_intersect_agg range_merge regexp_count
regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table
regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat
reverse right row row_to_json rpad scale set_bit set_byte set_masklen setweight sha224 sha256 sha384 sha512 sind
sinh split_part starts_with statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array
string_to_table strip strpos tand tanh text timeofday to_char to_date to_hex to_json to_jsonb to_number
to_timestamp to_tsquery to_tsvector transaction_timestamp translate trim_array trim_scale trunc ts_headline
ts_rank ts_rank_cd tsvector_to_array unistr unnest upper_inc upper_inf var_pop var_samp variance
websearch_to_tsquery width_bucket
int4range int8range numrange tsrange tstzrange daterange
abbrev array_reverse array_sort array_to_tsvector box casefold circle crc32 crc32c
current_catalog current_database current_schema date date_add date_subtract datemultirange enum_first
enum_last enum_range erf erfc int4multirange int8multirange jsonb_path_exists_tz
jsonb_path_match_tz jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_path_query_tz line lseg
nummultirange pg_size_bytes pg_size_pretty point polygon querytree random_normal timezone
hash_numeric hashint4 hashint4extended hashint8 hashint8extended hashtext hashtextextended
ts_delete ts_filter tsmultirange tsquery_phrase tstzmultirange uuid_extract_timestamp uuid_extract_version uuid_hash uuid_hash_extended uuidv4 uuidv7
version
";

const SQLITE: &str = "
acosh asinh atanh char cosh date datetime format group_concat glob hex highlight ifnull iif instr json
json_array json_array_insert json_array_length json_each json_error_position json_extract json_group_array
json_group_object json_insert json_object json_patch json_pretty json_quote json_remove json_replace json_set
json_tree json_type json_valid jsonb jsonb_array jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert
jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set julianday length like likelihood likely log2
generate_series median percentile printf quote random randomblob rank sinh snippet soundex string_agg strftime
tanh time timediff total trunc typeof unhex unicode unixepoch unlikely zeroblob
if sqlite_version unistr
";

const MYSQL: &str = "
adddate addtime ascii bin bit_and bit_count bit_length bit_or bit_xor char compress conv convert convert_tz cot
crc32 curdate curtime date date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear elt
export_set extract field find_in_set format from_base64 from_days from_unixtime get_format greatest group_concat
hex hour if ifnull insert instr interval is_ipv4 is_ipv6 inet_aton inet_ntoa inet6_aton inet6_ntoa isnull
json_array json_array_append json_array_insert json_arrayagg json_contains json_contains_path json_depth
json_extract json_insert json_keys json_length json_merge_patch json_merge_preserve json_object json_objectagg
json_overlaps json_pretty json_quote json_remove json_replace json_search json_set json_type json_unquote
json_valid json_value last_day lcase least left length localtime localtimestamp locate log2 lpad make_set
makedate maketime md5 microsecond mid minute month monthname now oct ord period_add period_diff position pow
quarter quote rand regexp_instr regexp_like regexp_replace regexp_substr repeat reverse right rpad sec_to_time
second sha sha1 sha2 soundex space std stddev stddev_pop stddev_samp str_to_date strcmp subdate substring_index
subtime sysdate time time_format time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_days
to_seconds truncate ucase uncompress unhex unix_timestamp utc_date utc_time utc_timestamp uuid values
var_pop var_samp variance week weekday weekofyear weight_string year yearweek
database version
";
