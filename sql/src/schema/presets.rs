//! The functions and operators of well-known extensions of PostgreSQL that read nothing but their arguments.
//!
//! A preset leaves out the functions of its extension that read tables or the catalogue, or change the session.

use crate::name::SchemaError;

/// An extension: its name, its functions and its operators.
struct Preset {
    name: &'static str,
    functions: &'static str,
    operators: &'static str,
}

/// The functions and the operators of an extension.
pub(super) fn preset(
    name: &str,
) -> Result<(impl Iterator<Item = &'static str>, impl Iterator<Item = &'static str>), SchemaError> {
    let preset = PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        SchemaError(format!(
            "the preset `{}` is not known; write one of {}, or list the functions under `functions`",
            name.escape_debug(),
            known.join(", ")
        ))
    })?;
    Ok((preset.functions.split_whitespace(), preset.operators.split_whitespace()))
}

/// The extension that has all of these functions, which are without their schemas.
#[cfg(feature = "rewrite")]
pub(crate) fn extension_of_functions(names: &[&str]) -> Option<&'static str> {
    let has = |preset: &&Preset| {
        names.iter().all(|name| preset.functions.split_whitespace().any(|known| known == *name))
    };
    PRESETS.iter().find(has).map(|preset| preset.name)
}

/// The extensions that have this operator.
#[cfg(feature = "rewrite")]
pub(crate) fn extensions_of_operator(operator: &str) -> Vec<&'static str> {
    let has = |preset: &&Preset| preset.operators.split_whitespace().any(|known| known == operator);
    PRESETS.iter().filter(has).map(|preset| preset.name).collect()
}

const PRESETS: [Preset; 8] = [
    Preset {
        name: "pgcrypto",
        functions: "
            armor crypt dearmor decrypt decrypt_iv digest encrypt encrypt_iv gen_random_bytes gen_random_uuid gen_salt hmac
            pgp_armor_headers pgp_key_id pgp_pub_decrypt pgp_pub_decrypt_bytea pgp_pub_encrypt pgp_pub_encrypt_bytea
            pgp_sym_decrypt pgp_sym_decrypt_bytea pgp_sym_encrypt pgp_sym_encrypt_bytea
        ",
        operators: "",
    },
    Preset {
        name: "uuid-ossp",
        // Not `uuid_generate_v1`: it contains the address of the server's network card.
        functions: "
            uuid_generate_v1mc uuid_generate_v3 uuid_generate_v4 uuid_generate_v5 uuid_nil uuid_ns_dns uuid_ns_oid
            uuid_ns_url uuid_ns_x500
        ",
        operators: "",
    },
    Preset {
        name: "pg_trgm",
        // Not `set_limit` and `show_limit`, which change and read the session.
        functions: "show_trgm similarity strict_word_similarity word_similarity",
        operators: "% <% %> <<% %>> <-> <<-> <->> <<<-> <->>>",
    },
    Preset { name: "unaccent", functions: "unaccent", operators: "" },
    Preset { name: "citext", functions: "citext", operators: "" },
    Preset {
        name: "ltree",
        functions: "index lca ltree2text nlevel subltree subpath text2ltree",
        operators: "@> <@ ~ ? @ ^@> ^<@ ^~ ^? ^@ ?@> ?<@ ?~ ?@",
    },
    Preset {
        name: "pgvector",
        functions: "
            binary_quantize cosine_distance hamming_distance inner_product jaccard_distance l1_distance l2_distance l2_norm
            l2_normalize subvector vector_dims vector_norm
        ",
        operators: "<-> <#> <=> <+> <~> <%>",
    },
    Preset {
        name: "postgis",
        // Not `st_estimatedextent`, `find_srid`, `populate_geometry_columns` and the like, which read tables.
        functions: "
            geography geometry st_area st_asbinary st_asewkb st_asewkt st_asgeojson st_asgml st_askml st_asmvt st_asmvtgeom
            st_assvg st_astext st_azimuth st_boundary st_buffer st_centroid st_clipbybox2d st_closestpoint st_clusterdbscan
            st_clusterkmeans st_clusterwithin st_collect st_collectionextract st_concavehull st_contains st_containsproperly
            st_convexhull st_coorddim st_coveredby st_covers st_crosses st_curvetoline st_delaunaytriangles st_dfullywithin
            st_difference st_dimension st_disjoint st_distance st_distancesphere st_distancespheroid st_dump st_dumppoints
            st_dumprings st_dwithin st_endpoint st_envelope st_equals st_expand st_extent st_exteriorring st_flipcoordinates
            st_force2d st_force3d st_forcepolygonccw st_forcepolygoncw st_frechetdistance st_geogfromtext st_geogfromwkb
            st_geographyfromtext st_geohash st_geometryfromtext st_geometryn st_geometrytype st_geomfromewkb st_geomfromewkt
            st_geomfromgeohash st_geomfromgeojson st_geomfromtext st_geomfromwkb st_hausdorffdistance st_hexagon
            st_hexagongrid st_interiorringn st_intersection st_intersects st_isclosed st_isempty st_isring st_issimple
            st_isvalid st_isvalidreason st_length st_lineinterpolatepoint st_linelocatepoint st_linemerge st_linesubstring
            st_linefromtext st_longestline st_m st_makebox2d st_makeenvelope st_makeline st_makepoint st_makepointm
            st_makepolygon st_makevalid st_maxdistance st_memsize st_minimumboundingcircle st_multi st_ndims st_normalize
            st_npoints st_numgeometries st_numinteriorrings st_numpoints st_overlaps st_perimeter st_point st_pointfromtext
            st_pointinsidecircle st_pointn st_pointonsurface st_polygon st_polygonfromtext st_polygonize st_project
            st_quantizecoordinates st_relate st_reverse st_rotate st_scale st_segmentize st_setsrid
            st_shortestline st_simplify st_simplifypreservetopology st_simplifyvw st_snap st_snaptogrid st_split st_square
            st_squaregrid st_srid st_startpoint st_subdivide st_summary st_symdifference st_tileenvelope st_touches
            st_transform st_translate st_transscale st_unaryunion st_union st_voronoipolygons st_within st_x st_xmax st_xmin
            st_y st_ymax st_ymin st_z st_zmax st_zmflag st_zmin
        ",
        operators: "<#> |=| <<#>> <<->> |>> <<| &<| |&> ~= @ ~",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::forbidden_reason;

    #[test]
    fn no_preset_allows_what_no_declaration_allows() {
        let mut count = 0;
        for preset in &PRESETS {
            for function in preset.functions.split_whitespace() {
                assert_eq!(forbidden_reason(function), None, "{function}");
                assert_eq!(function, function.to_ascii_lowercase());
                count += 1;
            }
        }
        assert!(count > 200, "{count}");
    }

    /// Functions of these extensions that read tables, the catalogue or the session.
    #[test]
    fn functions_that_read_more_than_their_arguments_are_left_out() {
        for (name, left_out) in [
            ("pg_trgm", &["set_limit", "show_limit"][..]),
            (
                "postgis",
                &[
                    "st_estimatedextent",
                    "st_findextent",
                    "find_srid",
                    "populate_geometry_columns",
                    "addgeometrycolumn",
                    "dropgeometrycolumn",
                    "updategeometrysrid",
                    "postgis_extensions_upgrade",
                    "lockrow",
                    "addauth",
                    "checkauth",
                    "enablelongtransactions",
                ],
            ),
            ("unaccent", &["unaccent_init", "unaccent_lexize"]),
        ] {
            let (functions, _) = preset(name).unwrap();
            let functions: Vec<&str> = functions.collect();
            for function in left_out {
                assert!(!functions.contains(function), "{function}");
            }
        }
    }
}
