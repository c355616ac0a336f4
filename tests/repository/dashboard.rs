//! The metrics of the code, of `docs/reference/metrics.md` and of the Grafana dashboard are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use metrics::{counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;

use crate::files;

const PAGE: &str = include_str!("../../docs/reference/metrics.md");
const DASHBOARD: &str = include_str!("../../docs/how-to/grafana-dashboard.json");
const GUIDE: &str = include_str!("../../docs/how-to/observe.md");

/// Each metric of the reference, with its kind.
fn reference() -> BTreeMap<&'static str, &'static str> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, label, values] = cells[..] else { panic!("not four cells: {line}") };
        assert!(!label.is_empty() && !values.is_empty(), "{line}");
        (name.trim_matches('`'), kind)
    };
    PAGE.lines().filter(|line| line.starts_with("| `tenancy_")).map(row).collect()
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with("tenancy_")).collect()
}

/// The names of the series that the exporter for Prometheus writes for the metrics of the reference.
fn exported() -> BTreeMap<String, &'static str> {
    let buckets = PrometheusBuilder::new().set_buckets(&[0.1, 1.0]).unwrap();
    let recorder = buckets.build_recorder();
    let handle = recorder.handle();
    let mut exported = BTreeMap::new();
    for (name, kind) in reference() {
        with_local_recorder(&recorder, || match kind {
            "counter" => counter!(name).increment(1),
            "gauge" => gauge!(name).set(1),
            "histogram" => histogram!(name).record(0.5),
            kind => panic!("{name}: no kind of metric: {kind}"),
        });
        let text = handle.render();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let series = line.split(['{', ' ']).next().unwrap();
            exported.entry(series.to_owned()).or_insert(name);
        }
    }
    exported
}

#[test]
fn each_metric_of_the_code_is_in_the_reference() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut written = BTreeSet::new();
    for path in files(&root).iter().filter(|path| path.ends_with("metrics.rs")) {
        let text = fs::read_to_string(path).expect("a file reads");
        written.extend(text.split('"').map(str::to_owned).filter(|part| names(part).contains(part.as_str())));
    }
    assert!(written.len() >= 15, "{written:?}");
    assert_eq!(written, reference().into_keys().map(str::to_owned).collect());
}

#[test]
fn the_dashboard_shows_each_metric_of_the_reference_and_no_other() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let exported = exported();
    let (mut shown, mut queries) = (BTreeSet::new(), 0);
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 10), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let found = names(query);
            assert_eq!(found.len(), 1, "{title}: {query}");
            for series in found {
                let metric = exported.get(series);
                shown.insert(
                    *metric.unwrap_or_else(|| panic!("{title}: no metric is exported as `{series}`")),
                );
            }
            queries += 1;
        }
    }
    assert!(queries >= 15, "{queries} queries");
    assert_eq!(shown, reference().into_keys().collect());
    assert_eq!(names(DASHBOARD).iter().filter(|name| !exported.contains_key(**name)).count(), 0);
}

#[test]
fn the_guide_names_only_metrics_that_are_exported() {
    let exported = exported();
    let found = names(GUIDE);
    assert!(found.len() >= 8, "{found:?}");
    for name in found {
        let is_metric = exported.contains_key(name) || reference().contains_key(name);
        assert!(is_metric, "`{name}` is no metric");
    }
}
