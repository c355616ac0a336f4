//! A host that the parser accepts means the same to a browser, and selects the same tenant there.
//!
//! The parser is compared with `url` (WHATWG) and `idna`.

use proptest::prelude::*;
use tenancy::ErrorKind;
use tenancy::resolve::{Candidate, HostSource, HttpVersion, OwnedRequest, Source, SourceOutcome};
use tenancy::tenant::Slug;
use url::{Host, Url};

const BASES: [&str; 3] = ["example.com", "eu.example.com", "localhost"];

/// The slug that a host selects; `Err` if the host is rejected.
fn ours(host: &[u8]) -> Result<Option<String>, ErrorKind> {
    let source = HostSource::new(BASES).unwrap();
    let read = |request: OwnedRequest| match source.read(&request) {
        SourceOutcome::Absent => Ok(None),
        SourceOutcome::Unverified(Candidate::Slug(slug)) => Ok(Some(slug.to_string())),
        SourceOutcome::Invalid(error) => Err(error.kind()),
        other => panic!("{other:?}"),
    };
    let answer = read(OwnedRequest::get("/").with_header("Host", host));
    if let Ok(text) = std::str::from_utf8(host) {
        let two = OwnedRequest::get("/").with_version(HttpVersion::Http2).with_authority(text);
        assert_eq!(read(two), answer, "as :authority it means the same: {text:?}");
    }
    answer
}

/// The host as a browser parses it.
fn theirs(host: &[u8]) -> Option<Host<String>> {
    let url = Url::parse(&format!("http://{}/", std::str::from_utf8(host).ok()?)).ok()?;
    url.host().map(|host| host.to_owned())
}

/// The slug in a browser's host, by the rule in one line.
fn named(host: &Host<String>) -> Option<String> {
    let Host::Domain(name) = host else { return None };
    let name = name.strip_suffix('.').unwrap_or(name);
    if BASES.contains(&name) {
        return None;
    }
    let label = BASES
        .iter()
        .filter_map(|base| name.strip_suffix(base)?.strip_suffix('.'))
        .min_by_key(|label| label.len());
    label.map(str::to_owned)
}

/// The properties of every host.
fn agrees(host: &[u8]) {
    let shown = String::from_utf8_lossy(host);
    match ours(host) {
        Ok(Some(slug)) => {
            let browser = theirs(host).unwrap_or_else(|| panic!("no browser takes {shown:?}"));
            assert_eq!(named(&browser).as_deref(), Some(&*slug), "{shown:?} is {browser:?} to a browser");
            let Host::Domain(name) = browser else { unreachable!("an address names no tenant") };
            let strict = idna::domain_to_ascii_strict(name.strip_suffix('.').unwrap_or(&name));
            assert_eq!(strict.ok().as_deref(), name.strip_suffix('.').or(Some(&name)), "{shown:?}");
        }
        // If the host selects no tenant here, it selects none, or a reserved word, in a browser.
        Ok(None) => {
            let slug = theirs(host).as_ref().and_then(named);
            let free = slug.as_deref().is_some_and(|slug| Slug::parse(slug).is_ok());
            assert!(!free, "{shown:?} is {slug:?} to a browser");
        }
        Err(kind) => assert_eq!(kind, ErrorKind::InvalidAuthority, "{shown:?}"),
    }
}

#[test]
fn what_browsers_make_of_odd_hosts_is_never_another_tenant() {
    for host in [
        "acme.example.com",
        "ACME.Example.COM.",
        "acme.example.com:8443",
        "acme.eu.example.com",
        "acme.localhost:1",
        "www.example.com",
        "example.com",
        "evil.com",
        "acme.example.com.evil.com",
        "x.acme.example.com",
        // Characters that a browser maps to ASCII and that the parser rejects.
        "ac\u{ad}me.example.com",
        "ac\u{200d}me.example.com",
        "acme\u{ff0e}example.com",
        "acme\u{3002}example.com",
        "\u{24d0}cme.example.com",
        "\u{ff41}cme.example.com",
        "acme%2eexample.com",
        "%61cme.example.com",
        "acme.ex\u{430}mple.com",
        "user@acme.example.com",
        "user:pass@acme.example.com",
        "acme.example.com\\@evil.com",
        "acme.example.com/x",
        "acme.example.com?x",
        "acme.example.com#x",
        "acme.example.com:80:90",
        "acme.example.com:",
        "acme.example.com:99999",
        "acme.example.com..",
        "acme..example.com",
        ".acme.example.com",
        "acme_x.example.com",
        "-acme.example.com",
        "acme-.example.com",
        "xn--80ak6aa92e.example.com",
        "xn--a.example.com",
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]:80",
        "1.example.com",
        "acme.example.com\t",
        " acme.example.com",
        "acme.example.com\n",
        "a\tcme.example.com",
        "",
    ] {
        agrees(host.as_bytes());
    }
    // A browser reaches a tenant with some of these hosts; the parser rejects them on purpose.
    for host in
        ["ac\u{ad}me.example.com", "acme\u{ff0e}example.com", "%61cme.example.com", "user@acme.example.com"]
    {
        assert_eq!(theirs(host.as_bytes()).as_ref().and_then(named).as_deref(), Some("acme"), "{host}");
        assert_eq!(ours(host.as_bytes()), Err(ErrorKind::InvalidAuthority), "{host}");
    }
}

/// Hosts that are almost valid: one part is odd, or the whole host is random.
fn host() -> impl Strategy<Value = Vec<u8>> {
    let label = prop_oneof![
        4 => "[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?",
        1 => "[A-Za-z0-9_.%:@/\\\\ -]{0,8}",
        1 => "\\PC{0,4}",
        1 => Just("www".to_owned()),
        1 => Just("xn--80ak6aa92e".to_owned()),
    ];
    let dot =
        prop_oneof![8 => Just("."), 1 => Just(".."), 1 => Just("\u{ff0e}"), 1 => Just("%2e"), 1 => Just("")];
    let base = prop::sample::select(vec![
        "example.com",
        "EXAMPLE.com",
        "eu.example.com",
        "localhost",
        "evil.com",
        "1",
        "0x7f",
    ]);
    let end = prop_oneof![6 => Just(""), 1 => Just("."), 1 => Just(".."), 2 => Just(":80"), 1 => Just(":0"), 1 => Just(":"), 1 => Just("@evil.com"), 1 => Just("\t")];
    prop_oneof![
        6 => (label, dot, base, end).prop_map(|(label, dot, base, end)| format!("{label}{dot}{base}{end}").into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    #[test]
    fn what_is_accepted_means_the_same_to_a_browser(host in host()) {
        agrees(&host);
    }
}
