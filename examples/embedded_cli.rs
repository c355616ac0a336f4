//! The commands of `tenancy` in a program of your own, which contains its migrations, plans and tables.
//!
//! `DATABASE_URL=sqlite:shop.db cargo run --example embedded_cli --features cli -- tenants list`
//!
//! `tenancy migrate run` needs `--migrations` and a `tenancy.toml`, `tenancy recount` also `--catalog`. This program needs
//! none of these files where it runs.

use std::process::ExitCode;

use sqlx::migrate;
use tenancy::{cli::Program, plan::Catalog, scope::Schema};

const PLANS: &str = r#"
version = 1
[features]
projects = { kind = "gauge" }
[plans.free]
features = { projects = 3 }
"#;

fn app() -> Program {
    // An application reads its own files here: `include_str!("../plans.toml")` and `include_str!("../tenancy.toml")`.
    let catalog = Catalog::from_toml(PLANS).expect("the plan catalog is valid");
    let schema = Schema::from_toml("type = \"text\"").expect("the tables are declared");
    Program::new().migrations(migrate!("examples/embedded_cli/migrations")).catalog(catalog).schema(schema)
}

fn main() -> ExitCode {
    app().run()
}

#[cfg(test)]
#[path = "support/postgres.rs"]
mod support;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sqlx::Pool;
    use tenancy::context::{Actor, TenantDirectory};
    use tenancy::scope::row::SupportsRow;
    use tenancy::tenant::{Slug, TenantStore};
    use tenancy::{TenantDb, TenantScoped, placement::Provision, quota::Gauge, store::SqlStore};

    use super::*;

    #[derive(TenantScoped, sqlx::FromRow)]
    #[tenant(table = "projects")]
    struct Project {
        #[tenant(id)]
        id: i64,
    }

    /// A new database gets its tables and its tenants, and a gauge gets its number. No option names a file.
    async fn operate<DB: Provision + SupportsRow<Project>>(pool: Pool<DB>, url: &str, files: &[&str]) {
        let store = Arc::new(SqlStore::new(pool.clone()));
        store.migrate().await.unwrap();
        let shop = |args: &[&str]| app().run_from([&["shop"], args, &["--url", url]].concat());
        let found = ExitCode::from(1);
        assert_eq!(shop(&[&["migrate", "run"], files].concat()), ExitCode::SUCCESS);
        assert_eq!(shop(&[&["migrate", "status"], files].concat()), ExitCode::SUCCESS);
        assert_eq!(shop(&["tenants", "create", "acme", "--plan", "free"]), ExitCode::SUCCESS);
        assert_eq!(shop(&["tenants", "create", "globex", "--plan", "free"]), ExitCode::SUCCESS);
        assert_eq!(
            shop(&["tenants", "create", "hooli", "--plan", "gold"]),
            ExitCode::from(2),
            "no such plan"
        );

        let schema = Schema::from_toml("type = \"text\"").unwrap();
        let db = TenantDb::from_pool(pool).schema(schema).build().await.unwrap();
        let directory = TenantDirectory::new(store.clone(), Catalog::from_toml(PLANS).unwrap());
        let mut contexts = Vec::new();
        for (slug, projects) in [("acme", 2), ("globex", 1)] {
            let tenant = store.by_slug(&Slug::parse(slug).unwrap()).await.unwrap().unwrap();
            let ctx = directory.context(tenant.id(), Actor::user("ada")).await.unwrap();
            let projects: Vec<_> = (0..projects).map(|id| Project { id }).collect();
            Project::insert_many(&db.scope(&ctx), &projects).await.unwrap();
            contexts.push(ctx);
        }
        let recount = ["recount", "--feature", "projects", "--table", "projects"];
        assert_eq!(shop(&recount), found);
        assert_eq!(
            shop(&[&recount[..], &["--apply", "--reason", "first count"]].concat()),
            ExitCode::SUCCESS
        );
        for (ctx, projects) in contexts.iter().zip([2, 1]) {
            assert_eq!(Gauge::new("projects").usage(&db.scope(ctx)).await.unwrap().used, projects);
        }
    }

    #[tokio::test]
    async fn the_program_works_on_postgres() {
        let database = support::FreshDatabase::new().await;
        operate(sqlx::PgPool::connect(&database.url).await.unwrap(), &database.url, &[]).await;
    }

    #[tokio::test]
    async fn the_program_works_on_sqlite() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("shop.db").display());
        let pool = sqlx::SqlitePool::connect(&format!("{url}?mode=rwc")).await.unwrap();
        operate(pool, &url, &["--files", directory.path().to_str().unwrap()]).await;
    }
}
