use tenancy::context::{Envelope, Job};

#[derive(serde::Serialize, serde::Deserialize)]
struct Pay {
    order: i64,
}

impl Job for Pay {
    const NAME: &'static str = "order.pay";
}

fn envelope<'a>(ctx: &'a tenancy::TenantContext, job: &'a Pay) -> Envelope<'a, Pay> {
    Envelope { ctx, job }
}

fn main() {}
