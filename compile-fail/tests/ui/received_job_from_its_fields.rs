use tenancy::context::Job;

#[derive(serde::Serialize, serde::Deserialize)]
struct Pay {
    order: i64,
}

impl Job for Pay {
    const NAME: &'static str = "order.pay";
}

fn opened(context: tenancy::TenantContext, id: uuid::Uuid, issued: tenancy::clock::Timestamp) {
    let job = Pay { order: 7 };
    let _ = tenancy::context::ReceivedJob { context, job, id, issued };
}

fn main() {}
