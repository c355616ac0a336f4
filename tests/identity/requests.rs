//! A random, almost valid request reaches one tenant or none. The test body is shared with `fuzz/`.

#[path = "../../fuzz/request.rs"]
mod request;

use proptest::prelude::*;

/// One line of a request: its kind, and a likely value.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let tenant = || {
        prop::sample::select(vec![
            "acme",
            "globex",
            "ACME",
            "nobody",
            "www",
            "42",
            "018f3f5e-3a5a-7c3e-9d0a-000000000002",
        ])
    };
    let host = prop_oneof![
        4 => tenant().prop_map(|tenant| format!("{tenant}.example.com")),
        1 => prop::sample::select(vec!["one", "TWO", "three", "x.one"]).prop_map(|name| format!("{name}.example.net")),
    ];
    let key = ("(acmeacmeacmeacme|globexglobexglob|[a-zA-Z0-9]{16})", "[a-zA-Z0-9]{43}");
    let key = (key, any::<bool>()).prop_map(|((id, secret), mistyped)| {
        if mistyped { format!("shop_live_{id}_{secret}_00000000") } else { api_key(&id, &secret) }
    });
    let odd = prop_oneof![
        Just(String::new()),
        Just("*".to_owned()),
        Just("acme, globex".to_owned()),
        "\\PC{0,12}",
        "[a-zA-Z0-9.:@%_-]{0,40}",
    ];
    let value = prop_oneof![
        4 => host.clone(),
        2 => tenant().prop_map(str::to_owned),
        1 => host.clone().prop_map(|host| format!("for=_x;host={host}")),
        1 => host.clone().prop_map(|host| format!("{host}:8443")),
        1 => host.prop_map(|host| format!("{host}@globex.example.com")),
        1 => tenant().prop_map(|tenant| format!("sid={tenant}; sid2=x")),
        1 => Just("Bearer eyJhbGciOiJub25lIn0.eyJ0ZW5hbnRfaWQiOiJhY21lIn0.".to_owned()),
        1 => Just("tenancy-header-1.a.e30.AAAA".to_owned()),
        1 => key.clone(),
        1 => key.prop_map(|key| format!("Bearer {key}")),
        2 => odd,
    ];
    let kind = prop::sample::select(b"hhhh2a0tfxsbkcnpqz".to_vec());
    let bytes = proptest::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        9 => (kind.clone(), value).prop_map(|(kind, value)| [&[kind], value.as_bytes()].concat()),
        1 => (kind, bytes).prop_map(|(kind, value)| [vec![kind], value].concat()),
    ]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    let path = prop_oneof![
        3 => Just("/login".to_owned()),
        1 => Just("/t/acme/login".to_owned()),
        1 => Just("/t/globex".to_owned()),
        1 => "/t/[a-z0-9%./-]{0,12}",
        1 => "\\PC{0,20}",
    ];
    (path, proptest::collection::vec(line(), 0..6))
        .prop_map(|(path, lines)| [vec![path.into_bytes()], lines].concat().join(&b'\n'))
}

/// A key with a valid checksum.
fn api_key(id: &str, secret: &str) -> String {
    let body = format!("shop_live_{id}_{secret}");
    format!("{body}_{:08x}", crc32fast::hash(body.as_bytes()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_a_request_is_made_of_it_reaches_one_tenant_or_none(many in proptest::collection::vec(data(), 200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let resolver = request::resolver().await;
            for data in many {
                request::one_tenant_or_none(&resolver, &data).await;
            }
        });
    }
}

/// Guards the generator: some of its requests are accepted, and others rejected.
#[tokio::test]
async fn one_line_decides_whether_an_almost_valid_request_is_accepted() {
    let resolver = request::resolver().await;
    let [acme, globex] = request::KEYS.map(|id| api_key(id, &"x".repeat(43)));
    for (data, wanted) in [
        ("/login\nhone.example.net", Some("acme")),
        ("/login\nhTWO.example.net.:443", Some("globex")),
        ("/t/acme\nhone.example.net", Some("acme")),
        ("/t/globex\nhone.example.net", None),
        ("/login\nhthree.example.net", None),
        ("/t/acme\nhthree.example.net", None),
        (&format!("/login\nhacme.example.com\nk{acme}"), None),
        (&format!("/login\nhacme.example.com\nk{globex}"), None),
        (&format!("/login\nhglobex.example.com\nbBearer {globex}"), None),
        ("/login\nhacme.example.com", Some("acme")),
        ("/t/globex\nhglobex.example.com", Some("globex")),
        ("/t/globex\nhacme.example.com", None),
        ("/login\n2ACME.example.com.", Some("acme")),
        ("/login\nhacme.example.com\ntglobex\nq", Some("acme")),
        ("/login\nhacme.example.com\ntglobex\np", None),
        ("/login\nhexample.com\nfhost=globex.example.com\np", Some("globex")),
        ("/login\nhacme.example.com\nfhost=globex.example.com\nq", Some("acme")),
        ("/login\nhacme.example.com\nhacme.example.com", None),
    ] {
        request::one_tenant_or_none(&resolver, data.as_bytes()).await;
        let answer = resolver.resolve_unauthenticated(&request::request(data.as_bytes())).await;
        assert_eq!(answer.ok().map(|ctx| ctx.tenant().slug().to_string()).as_deref(), wanted, "{data:?}");
    }
}
