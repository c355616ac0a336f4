use tenancy::context::{Envelope, Job};

#[derive(serde::Serialize, serde::Deserialize)]
struct Pay {
    order: i64,
}

impl Job for Pay {
    const NAME: &'static str = "order.pay";
}

fn read(envelope: Envelope<'_, Pay>) {
    let _ = envelope.tenant_id();
    let _ = envelope.job;
}

fn main() {}
