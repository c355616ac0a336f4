use tenancy::context::{Envelope, Job};

#[derive(serde::Serialize, serde::Deserialize)]
struct Pay {
    order: i64,
}

impl Job for Pay {
    const NAME: &'static str = "order.pay";
}

fn main() {
    let _: Envelope<'_, Pay> = serde_json::from_str("{}").unwrap();
}
