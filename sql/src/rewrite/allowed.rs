//! The operators and types that the rewriter accepts: allow lists for both passes.
//!
//! The list of functions is in `functions.rs`. User-defined operators and types with a built-in spelling cannot be
//! recognised here: `tenancy doctor` reports the functions behind them.

use sqlparser::ast::{ArrayElemTypeDef, BinaryOperator, DataType, Ident, ObjectName, UnaryOperator};

use super::sqlite_grammar::OPERATORS;
use crate::dialect::Dialect;
use crate::schema::Schema;

/// Whether this operator is built in or declared.
pub(super) fn operator(dialect: Dialect, schema: &Schema, operator: &BinaryOperator) -> bool {
    // An operator with its schema is written with letters, which no declared operator has.
    is_built_in(dialect, operator)
        || (dialect == Dialect::Postgres && schema.allows_operator(&operator.to_string()))
}

fn is_built_in(dialect: Dialect, operator: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    match operator {
        Op::Plus
        | Op::Minus
        | Op::Multiply
        | Op::Divide
        | Op::Modulo
        | Op::StringConcat
        | Op::Gt
        | Op::Lt
        | Op::GtEq
        | Op::LtEq
        | Op::Eq
        | Op::NotEq
        | Op::And
        | Op::Or
        | Op::BitwiseOr
        | Op::BitwiseAnd
        | Op::PGBitwiseShiftLeft
        | Op::PGBitwiseShiftRight
        | Op::Arrow
        | Op::LongArrow => true,
        Op::Match | Op::Glob => dialect == Dialect::Sqlite,
        // On SQLite, REGEXP calls the application's function `regexp`.
        Op::Regexp | Op::Spaceship | Op::Xor | Op::MyIntegerDivide | Op::BitwiseXor => {
            dialect == Dialect::MySql
        }
        Op::PGBitwiseXor
        | Op::PGExp
        | Op::PGOverlap
        | Op::PGRegexMatch
        | Op::PGRegexIMatch
        | Op::PGRegexNotMatch
        | Op::PGRegexNotIMatch
        | Op::PGLikeMatch
        | Op::PGILikeMatch
        | Op::PGNotLikeMatch
        | Op::PGNotILikeMatch
        | Op::PGStartsWith
        | Op::HashArrow
        | Op::HashLongArrow
        | Op::AtAt
        | Op::AtArrow
        | Op::ArrowAt
        | Op::HashMinus
        | Op::AtQuestion
        | Op::Question
        | Op::QuestionAnd
        | Op::QuestionPipe
        | Op::Overlaps
        | Op::DoubleHash
        | Op::LtDashGt
        | Op::AndLt
        | Op::AndGt
        | Op::LtLtPipe
        | Op::PipeGtGt
        | Op::AndLtPipe
        | Op::PipeAndGt
        | Op::LtCaret
        | Op::GtCaret
        | Op::QuestionHash
        | Op::QuestionDash
        | Op::QuestionDashPipe
        | Op::QuestionDoublePipe
        | Op::TildeEq
        // It names an argument, and is a syntax error elsewhere. In MySQL it sets a variable of the session.
        | Op::Assignment => dialect == Dialect::Postgres,
        Op::Custom(name) => dialect == Dialect::Sqlite && OPERATORS.contains(&&**name),
        // Operators by name, and operators of other databases.
        Op::PGCustomBinaryOperator(_) | Op::DuckIntegerDivide | Op::At => false,
    }
}

/// Whether this word calls a function, although it looks like a column. PostgreSQL and MySQL have such functions.
pub(super) fn is_call(dialect: Dialect, ident: &Ident) -> bool {
    const WORDS: [&str; 7] = [
        "current_catalog",
        "current_role",
        "current_schema",
        "current_user",
        "session_user",
        "system_user",
        "user",
    ];
    dialect != Dialect::Sqlite
        && ident.quote_style.is_none()
        && WORDS.iter().any(|word| ident.value.eq_ignore_ascii_case(word))
}

/// Whether this is a built-in operator with one operand.
pub(super) fn unary(operator: UnaryOperator) -> bool {
    match operator {
        UnaryOperator::Plus
        | UnaryOperator::Minus
        | UnaryOperator::Not
        | UnaryOperator::BitwiseNot
        | UnaryOperator::BangNot
        | UnaryOperator::PGAbs
        | UnaryOperator::PGSquareRoot
        | UnaryOperator::PGCubeRoot => true,
        UnaryOperator::AtDashAt
        | UnaryOperator::DoubleAt
        | UnaryOperator::Hash
        | UnaryOperator::PGPostfixFactorial
        | UnaryOperator::PGPrefixFactorial
        | UnaryOperator::QuestionDash
        | UnaryOperator::QuestionPipe => false,
    }
}

/// Types of PostgreSQL whose input looks up names, roles, transactions or rows, and internal types.
const POSTGRES_INNER: &[&str] = &[
    "aclitem",
    "any",
    "anyarray",
    "anycompatible",
    "anycompatiblearray",
    "anycompatiblemultirange",
    "anycompatiblenonarray",
    "anycompatiblerange",
    "anyelement",
    "anyenum",
    "anymultirange",
    "anynonarray",
    "anyrange",
    "cid",
    "cstring",
    "event_trigger",
    "fdw_handler",
    "gtsvector",
    "index_am_handler",
    "internal",
    "national",
    "language_handler",
    "opaque",
    "refcursor",
    "regclass",
    "regcollation",
    "regdatabase",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "table_am_handler",
    "tid",
    "trigger",
    "tsm_handler",
    "txid_snapshot",
    "unknown",
    "void",
    "xid",
    "xid8",
];

/// Whether a value may be cast to this type.
#[expect(clippy::too_many_lines, reason = "each type is named once")]
pub(super) fn data_type(dialect: Dialect, data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Custom(name, modifiers) => {
            let plain = |m: &String| m.bytes().all(|b| b.is_ascii_alphanumeric());
            modifiers.iter().all(plain) && (dialect != Dialect::Postgres || custom(name))
        }
        T::Array(ArrayElemTypeDef::SquareBracket(inner, _)) => self::data_type(dialect, inner),
        T::Character(_)
        | T::Char(_)
        | T::CharacterVarying(_)
        | T::CharVarying(_)
        | T::Varchar(_)
        | T::Nvarchar(_)
        | T::Uuid
        | T::CharacterLargeObject(_)
        | T::CharLargeObject(_)
        | T::Clob(_)
        | T::Binary(_)
        | T::Varbinary(_)
        | T::Blob(_)
        | T::TinyBlob
        | T::MediumBlob
        | T::LongBlob
        | T::Bytes(_)
        | T::Numeric(_)
        | T::Decimal(_)
        | T::DecimalUnsigned(_)
        | T::Dec(_)
        | T::DecUnsigned(_)
        | T::Float(_)
        | T::FloatUnsigned(_)
        | T::TinyInt(_)
        | T::TinyIntUnsigned(_)
        | T::Int2(_)
        | T::Int2Unsigned(_)
        | T::SmallInt(_)
        | T::SmallIntUnsigned(_)
        | T::MediumInt(_)
        | T::MediumIntUnsigned(_)
        | T::Int(_)
        | T::Int4(_)
        | T::Int8(_)
        | T::Integer(_)
        | T::IntUnsigned(_)
        | T::Int4Unsigned(_)
        | T::IntegerUnsigned(_)
        | T::BigInt(_)
        | T::BigIntUnsigned(_)
        | T::Int8Unsigned(_)
        | T::Signed
        | T::SignedInteger
        | T::Unsigned
        | T::UnsignedInteger
        | T::Float4
        | T::Real
        | T::RealUnsigned
        | T::Float8
        | T::Double(_)
        | T::DoubleUnsigned(_)
        | T::DoublePrecision
        | T::DoublePrecisionUnsigned
        | T::Bool
        | T::Boolean
        | T::Date
        | T::Time(..)
        | T::Datetime(_)
        | T::Timestamp(..)
        | T::Interval { .. }
        | T::JSON
        | T::JSONB
        | T::Text
        | T::TinyText
        | T::MediumText
        | T::LongText
        | T::Bytea
        | T::Bit(_)
        | T::BitVarying(_)
        | T::VarBit(_)
        | T::GeometricType(_)
        | T::TsVector
        | T::TsQuery => true,
        // `regclass`, anonymous types, and types of other databases.
        T::Regclass
        | T::Table(_)
        | T::NamedTable { .. }
        | T::BigNumeric(_)
        | T::BigDecimal(_)
        | T::UTinyInt
        | T::USmallInt
        | T::Int16
        | T::Int32
        | T::Int64
        | T::Int128
        | T::Int256
        | T::HugeInt
        | T::UHugeInt
        | T::UInt8
        | T::UInt16
        | T::UInt32
        | T::UInt64
        | T::UInt128
        | T::UInt256
        | T::UBigInt
        | T::Float32
        | T::Float64
        | T::Date32
        | T::Datetime64(..)
        | T::TimestampNtz(_)
        | T::String(_)
        | T::FixedString(_)
        | T::Array(_)
        | T::Map(..)
        | T::Tuple(_)
        | T::Nested(_)
        | T::Enum(..)
        | T::Set(_)
        | T::Struct(..)
        | T::Union(_)
        | T::Nullable(_)
        | T::LowCardinality(_)
        | T::Unspecified
        | T::Trigger
        | T::AnyType => false,
    }
}

/// A type by its name: a built-in value type of PostgreSQL, or a user-defined type.
fn custom(name: &ObjectName) -> bool {
    let parts: Option<Vec<String>> =
        name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.to_ascii_lowercase())).collect();
    let Some(parts) = parts else { return false };
    let Some((last, schemas)) = parts.split_last() else { return false };
    // `_regclass` is `regclass[]`, and a row of `pg_type` has columns that look up names.
    let element = last.trim_start_matches('_');
    let inner = element.starts_with("pg_") || POSTGRES_INNER.contains(&element);
    let schema =
        |name: &String| name == "pg_catalog" || !(name.starts_with("pg_") || name == "information_schema");
    parts.iter().all(|part| !part.contains('.')) && schemas.iter().all(schema) && !inner
}
