struct Customer {
    note: Note,
}

struct Note(String);

impl From<String> for Note {
    fn from(text: String) -> Self {
        Self(text)
    }
}

async fn handler(db: &tenancy::TenantDb<sqlx::Postgres>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query_as_checked!(&scope, Customer, "SELECT note FROM customers");
}

fn main() {}
