//! A webhook body without a valid signature has no effect, in every form in which Stripe's SDKs disagree.

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;
use tenancy::ErrorKind;
use tenancy::billing::stripe::{SigningSecrets, sign};
use tenancy::clock::Timestamp;

const SECRET: &str = "whsec_one";
const OTHER: &str = "whsec_two";
const BODY: &[u8] = b"{\"id\":\"evt_1\",\n \"object\":\"event\"}";
const NOW: i64 = 1_700_000_000;

/// The signature as documented, independent of the code under test; `time` can be any text.
fn v1(secret: &str, time: &str, body: &[u8]) -> String {
    let mut code = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    code.update(&[time.as_bytes(), b".", body].concat());
    code.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn header(time: &str) -> String {
    format!("t={time},v1={}", v1(SECRET, time, BODY))
}

fn accepts(body: &[u8], headers: &[&[u8]]) -> bool {
    accepts_at(Timestamp::from_seconds(NOW), body, headers)
}

fn accepts_at(now: Timestamp, body: &[u8], headers: &[&[u8]]) -> bool {
    let secrets = SigningSecrets::new([SECRET]).unwrap();
    match secrets.verify(body, headers, now) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::SignatureInvalid);
            assert_eq!(error.to_string(), "the webhook's signature does not prove its body");
            assert!(error.cause().is_none(), "the reason is for the log alone");
            false
        }
    }
}

#[test]
fn every_form_of_the_header_has_its_answer() {
    let good = v1(SECRET, "1700000000", BODY);
    let bad = "0".repeat(64);
    let hot = |item: &str| format!("t=1700000000,{item}").into_bytes();
    let many = |n: usize| format!("t=1700000000,{}v1={good}", format!("v1={bad},").repeat(n)).into_bytes();
    let mut non_ascii = hot("v1=");
    non_ascii.extend([0xC3, 0xA9].repeat(32));
    let mut non_ascii_beside = hot(&format!("v1={good},v0="));
    non_ascii_beside.push(0xFF);

    let table: &[(&str, Vec<u8>, bool)] = &[
        ("as Stripe sends it", hot(&format!("v1={good}")), true),
        ("with a v0 beside it", hot(&format!("v1={good},v0={bad}")), true),
        ("v1 before t", format!("v1={good},t=1700000000").into_bytes(), true),
        ("v0 alone", hot(&format!("v0={good}")), false),
        ("v2 alone", hot(&format!("v2={good}")), false),
        ("two v1, the first good", hot(&format!("v1={good},v1={bad}")), true),
        ("two v1, the last good", hot(&format!("v1={bad},v1={good}")), true),
        ("two v1, none good", hot(&format!("v1={bad},v1={bad}")), false),
        ("an empty v1, then a good one", hot(&format!("v1=,v1={good}")), true),
        ("an empty v1 alone", hot("v1="), false),
        ("v1 not ASCII, of equal length", non_ascii, false),
        ("anything not ASCII", non_ascii_beside, false),
        ("v1 without =", hot("v1"), false),
        ("v1 without =, then a good one", hot(&format!("v1,v1={good}")), true),
        ("upper-case hex", hot(&format!("v1={}", good.to_uppercase())), false),
        ("a space after the comma", hot(&format!(" v1={good}")), false),
        ("a trailing comma", hot(&format!("v1={good},")), true),
        ("an item without value", hot(&format!("v1={good},x")), true),
        ("an unknown item", hot(&format!("x=y,v1={good}")), true),
        ("two t, the first good", format!("t=1700000000,t=1,v1={good}").into_bytes(), false),
        ("two t, the last good", format!("t=1,t=1700000000,v1={good}").into_bytes(), false),
        ("two equal t", format!("t=1700000000,t=1700000000,v1={good}").into_bytes(), false),
        ("no t", format!("v1={good}").into_bytes(), false),
        ("t is empty", header("").into_bytes(), false),
        ("t is a word", header("abc").into_bytes(), false),
        ("t is a word, NaN is signed", format!("t=abc,v1={}", v1(SECRET, "NaN", BODY)).into_bytes(), false),
        ("t with letters behind, signed so", header("1700000000abc").into_bytes(), false),
        ("t with letters behind", format!("t=1700000000abc,v1={good}").into_bytes(), false),
        ("t with a fraction", header("1700000000.0").into_bytes(), false),
        ("t with a sign, signed without", format!("t=+1700000000,v1={good}").into_bytes(), false),
        ("t with a sign, signed so", header("+1700000000").into_bytes(), false),
        ("t with a zero, signed without", format!("t=01700000000,v1={good}").into_bytes(), false),
        ("t with a zero, signed so", header("01700000000").into_bytes(), false),
        ("t with underscores", header("1_700_000_000").into_bytes(), false),
        ("t in other digits", header("١٧٠٠٠٠٠٠٠٠").into_bytes(), false),
        ("t is the least i64", header("-9223372036854775808").into_bytes(), false),
        ("t is the largest i64", header("9223372036854775807").into_bytes(), false),
        ("t is past i64", header("9223372036854775808").into_bytes(), false),
        ("t in milliseconds", header("1700000000000").into_bytes(), false),
        ("300 s old", header("1699999700").into_bytes(), true),
        ("301 s old", header("1699999699").into_bytes(), false),
        ("300 s ahead", header("1700000300").into_bytes(), true),
        ("301 s ahead", header("1700000301").into_bytes(), false),
        ("10 years ahead", header("2015000000").into_bytes(), false),
        ("v1=GOOD=x", hot(&format!("v1={good}=x")), false),
        ("16 candidates", many(15), true),
        ("17 candidates", many(16), false),
        ("10,000 candidates", many(10_000), false),
        ("4 KiB", pad(&good, 4096), true),
        ("past 4 KiB", pad(&good, 4097), false),
        ("1 MiB", pad(&good, 1 << 20), false),
        (
            "two headers folded into one",
            format!("t=1700000000,v1={good}, t=1700000000,v1={good}").into_bytes(),
            false,
        ),
        ("another secret's", hot(&format!("v1={}", v1(OTHER, "1700000000", BODY))), false),
        ("the secret without whsec_", hot(&format!("v1={}", v1("one", "1700000000", BODY))), false),
        ("empty", Vec::new(), false),
    ];
    assert!(table.len() >= 50, "rows were lost");
    for (name, header, expected) in table {
        assert_eq!(accepts(BODY, &[header]), *expected, "{name}");
    }
}

/// A valid header of exactly `length` bytes.
fn pad(good: &str, length: usize) -> Vec<u8> {
    let mut header = format!("t=1700000000,v1={good},x=").into_bytes();
    header.resize(length, b'x');
    header
}

#[test]
fn exactly_one_header_is_read() {
    let good = header("1700000000");
    assert!(!accepts(BODY, &[]));
    assert!(accepts(BODY, &[good.as_bytes()]));
    assert!(!accepts(BODY, &[good.as_bytes(), good.as_bytes()]));
}

#[test]
fn the_body_counts_byte_for_byte() {
    for body in [
        BODY,
        b"",
        b"{\r\n}",
        "{\"name\":\"Zoë 🦀\"}".as_bytes(),
        b"\xEF\xBB\xBF{}",
        b"\xFF\xFE not UTF-8",
        &vec![b' '; 1 << 20],
    ] {
        let signed = sign(SECRET, body, Timestamp::from_seconds(NOW));
        assert_eq!(signed, format!("t={NOW},v1={}", v1(SECRET, &NOW.to_string(), body)));
        assert!(accepts(body, &[signed.as_bytes()]));
        for changed in [[body, b" "].concat(), [b" ", body].concat(), [body, b"\0"].concat()] {
            assert!(!accepts(&changed, &[signed.as_bytes()]));
        }
    }
    let signed = sign(SECRET, b"{\r\n}", Timestamp::from_seconds(NOW));
    assert!(!accepts(b"{\n}", &[signed.as_bytes()]), "line ends were changed on the way");
}

#[test]
fn whole_seconds_decide_the_age() {
    let signed = sign(SECRET, BODY, Timestamp::from_seconds(NOW));
    let at = |micros| accepts_at(Timestamp::from_micros(micros), BODY, &[signed.as_bytes()]);
    assert!(at((NOW + 300) * 1_000_000 + 500_000));
    assert!(!at((NOW + 301) * 1_000_000));
    assert!(!at(i64::MAX));
    assert!(!at(i64::MIN));
}

#[test]
fn the_tolerance_counts_in_both_directions_and_is_never_zero() {
    let secrets = || SigningSecrets::new([SECRET]).unwrap();
    for (tolerance, allowed) in [
        (Duration::from_secs(1), 1),
        (Duration::from_millis(1999), 1),
        (Duration::from_mins(1), 60),
        (Duration::from_hours(1), 3600),
        (Duration::MAX, NOW),
    ] {
        let secrets = secrets().tolerance(tolerance).unwrap();
        let header = header(&NOW.to_string());
        for (difference, accepted) in [(0, true), (allowed, true), (allowed + 1, tolerance == Duration::MAX)]
        {
            for now in [NOW + difference, NOW - difference] {
                let verified = secrets.verify(BODY, &[header.as_bytes()], Timestamp::from_seconds(now));
                assert_eq!(verified.is_ok(), accepted, "{tolerance:?} {difference}");
            }
        }
        assert!(secrets.verify(b"{}", &[header.as_bytes()], Timestamp::from_seconds(NOW)).is_err());
    }
    for none in [Duration::ZERO, Duration::from_millis(999)] {
        assert_eq!(secrets().tolerance(none).unwrap_err().kind(), ErrorKind::Misconfigured);
    }
}

#[test]
fn any_of_several_secrets_proves() {
    let secrets = SigningSecrets::new([SECRET, OTHER]).unwrap();
    let now = Timestamp::from_seconds(NOW);
    for secret in [SECRET, OTHER] {
        secrets.verify(BODY, &[sign(secret, BODY, now).as_bytes()], now).unwrap();
    }
    assert!(secrets.verify(BODY, &[sign("whsec_three", BODY, now).as_bytes()], now).is_err());
    // During a rotation Stripe signs with both secrets, and an endpoint can hold either one.
    let both =
        format!("t={NOW},v1={},v1={}", v1("whsec_three", "1700000000", BODY), v1(OTHER, "1700000000", BODY));
    secrets.verify(BODY, &[both.as_bytes()], now).unwrap();
}

#[test]
fn a_blank_secret_is_rejected_and_no_secret_is_shown() {
    for bad in [vec![], vec![""], vec![" "], vec!["whsec_one\n"], vec!["whsec_one", ""], vec!["whsec one"]] {
        assert_eq!(SigningSecrets::new(bad).unwrap_err().kind(), ErrorKind::Misconfigured);
    }
    let shown = format!("{:?}", SigningSecrets::new([SECRET]).unwrap());
    assert_eq!(shown, "SigningSecrets(1 redacted)");
}

proptest! {
    #[test]
    fn no_header_panics_and_none_by_chance_is_accepted(header: Vec<u8>, body: Vec<u8>) {
        prop_assert!(!accepts(&body, &[&header]));
    }

    #[test]
    fn a_header_with_one_byte_changed_never_proves_another_body(at in 0usize..77, byte: u8) {
        let mut header = header("1700000000").into_bytes();
        let at = at % header.len();
        header[at] = byte;
        let proven = accepts(b"[]", &[&header]);
        prop_assert!(!proven);
    }
}
