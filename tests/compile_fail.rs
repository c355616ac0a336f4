//! What must not compile does not, and the compiler says how to mend it: see `tests/ui`.

/// How many cases there are at least; a case that goes missing is a promise that goes missing.
const CASES: usize = 81;

#[test]
fn what_could_cross_tenants_does_not_compile() {
    let cases = std::fs::read_dir("tests/ui")
        .expect("the cases are beside this file")
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ext| ext == "rs"))
        .count();
    assert!(cases >= CASES, "{cases} cases, at least {CASES} are expected");
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
