//! A `ForeignKey` comes only from a scoped read and is bound only for its own tenant.

use sqlx::{Postgres, Sqlite};
use tenancy::scope::row::{ForeignKey, SupportsRow};
use tenancy::{ErrorKind, TenantScoped, query, query_as};

use crate::common::{Fixture, TestBackend};

#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "customers")]
struct Customer {
    #[tenant(id)]
    id: i64,
}

#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow, serde::Serialize)]
#[tenant(table = "invoices")]
struct Invoice {
    #[tenant(id)]
    id: i64,
    #[sqlx(rename = "customer_id")]
    customer: ForeignKey<Customer>,
    #[sqlx(rename = "payer_id")]
    payer: Option<ForeignKey<Customer>>,
}

/// The same table, with a plain id in place of the `ForeignKey`.
#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "invoices")]
struct PlainInvoice {
    #[tenant(id)]
    id: i64,
    customer_id: i64,
    payer_id: Option<i64>,
}

trait Tables: TestBackend + SupportsRow<Customer> + SupportsRow<Invoice> + SupportsRow<PlainInvoice> {
    const TENANT: &'static str;
}

impl Tables for Sqlite {
    const TENANT: &'static str = "BLOB";
}

impl Tables for Postgres {
    const TENANT: &'static str = "uuid";
}

/// Both tenants have the customers 1 and 2; only globex has the customer 3.
async fn seeded<DB: Tables>() -> Fixture<DB> {
    let fixture = Fixture::<DB>::new().await;
    for columns in [
        "customers (tenant_id TENANT NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id))",
        "invoices (tenant_id TENANT NOT NULL, id bigint NOT NULL, customer_id bigint NOT NULL, payer_id bigint,
         PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id))",
    ] {
        let sql = format!("CREATE TABLE {}", columns.replace("TENANT", DB::TENANT));
        fixture.raw(&sql).await.unwrap();
    }
    let customers = [1, 2, 3].map(|id| Customer { id });
    Customer::insert_many(&fixture.db.scope(&fixture.acme), &customers[..2]).await.unwrap();
    Customer::insert_many(&fixture.db.scope(&fixture.globex), &customers).await.unwrap();
    fixture
}

async fn a_reference_is_to_a_row_that_the_tenant_has<DB: Tables>() {
    let fixture = seeded::<DB>().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    assert_eq!(Customer::foreign_key(&acme, 3).await.unwrap(), None);
    assert!(Customer::foreign_key(&globex, 3).await.unwrap().is_some());
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert_eq!(Customer::foreign_key(&mut tx, 3).await.unwrap(), None);
    let customer = Customer::foreign_key(&mut tx, 1).await.unwrap().unwrap();
    let payer = Customer::foreign_key(&mut tx, 2).await.unwrap();
    let invoice = Invoice { id: 10, customer: customer.clone(), payer };
    Invoice::insert(&mut tx, &invoice).await.unwrap();
    tx.commit().await.unwrap();

    let read = Invoice::find(&acme, 10).await.unwrap().unwrap();
    assert_eq!(read, invoice);
    assert_eq!((*read.customer.id(), read.payer.as_ref().map(|payer| *payer.id())), (1, Some(2)));
    assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"id":10,"customer":1,"payer":2}"#);
    // A value that was read can be written and filtered by.
    let next = Invoice { id: 11, payer: None, ..read };
    Invoice::upsert(&acme, &next).await.unwrap();
    let of_customer = |customer| Invoice::select().filter(Invoice::CUSTOMER.eq(customer));
    assert_eq!(of_customer(customer.clone()).count(&acme).await.unwrap(), 2);
    assert_eq!(Invoice::select().filter(Invoice::PAYER.is_null()).first(&acme).await.unwrap(), Some(next));
    let plain = PlainInvoice { id: 12, customer_id: 2, payer_id: Some(9) };
    PlainInvoice::insert(&acme, &plain).await.unwrap();
    assert_eq!(PlainInvoice::find(&acme, 12).await.unwrap(), Some(plain));
}

async fn a_reference_of_another_tenant_is_rejected_before_anything_is_sent<DB: Tables>() {
    let fixture = seeded::<DB>().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    // Both tenants have a customer 1, so the database itself would accept the value.
    let theirs = Customer::foreign_key(&globex, 1).await.unwrap().unwrap();
    let own = Customer::foreign_key(&acme, 1).await.unwrap().unwrap();
    assert_eq!((theirs.id(), own.id()), (&1, &1));
    assert_ne!(theirs, own);
    let good = Invoice { id: 1, customer: own.clone(), payer: None };
    Invoice::insert(&acme, &good).await.unwrap();
    let bad = [
        Invoice { customer: theirs.clone(), ..good.clone() },
        Invoice { payer: Some(theirs.clone()), ..good.clone() },
    ];
    for bad in &bad {
        let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
        let many = [good.clone(), bad.clone()];
        for error in [
            Invoice::insert(&mut tx, bad).await.unwrap_err(),
            Invoice::update(&mut tx, bad).await.unwrap_err(),
            Invoice::upsert(&mut tx, bad).await.unwrap_err(),
            Invoice::insert_many(&mut tx, &many).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(error.to_string().starts_with("this foreign key belongs to another tenant"), "{error}");
        }
        // The database rejected nothing, so the transaction is still usable.
        assert!(Invoice::update(&mut tx, &good).await.unwrap().found());
        tx.commit().await.unwrap();
    }
    let filter = Invoice::select().filter(Invoice::CUSTOMER.is_in([own.clone(), theirs.clone()]));
    assert_eq!(filter.count(&acme).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    let set = Invoice::select().update(&acme, [Invoice::PAYER.set(theirs.clone())]).await;
    assert_eq!(set.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(Invoice::find(&acme, 1).await.unwrap(), Some(good));
    assert_eq!(Invoice::count(&globex).await.unwrap(), 0);
}

in_every_placement!(
    a_reference_is_to_a_row_that_the_tenant_has,
    a_reference_of_another_tenant_is_rejected_before_anything_is_sent,
);

/// The other ways to run SQL. A macro, because the trait bounds of sqlx differ per database.
macro_rules! other_apis {
    ($name:ident, $db:ty) => {
        #[tokio::test]
        async fn $name() {
            let fixture = seeded::<$db>().await;
            let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
            let own = Customer::foreign_key(&acme, 1).await.unwrap().unwrap();
            let insert = "INSERT INTO invoices (id, customer_id) VALUES ($1, $2)";
            let statement =
                query!(&acme, "INSERT INTO invoices (id, customer_id) VALUES ($1, $2)", 1_i64, own.clone());
            assert_eq!(statement.execute().await.unwrap(), 1);
            let statement =
                query!(&globex, "INSERT INTO invoices (id, customer_id) VALUES ($1, $2)", 1_i64, own.clone());
            assert_eq!(statement.execute().await.unwrap_err().kind(), ErrorKind::Misconfigured);

            // Queries outside of the repository decode no `ForeignKey`: their text could produce any value.
            let forged = query_as!(
                &acme,
                Invoice,
                "SELECT id, CAST($1 AS bigint) AS customer_id, payer_id FROM invoices",
                3_i64
            );
            let error = forged.fetch_all().await.unwrap_err();
            assert!(
                error.cause().unwrap().to_string().contains("only the repository reads a `ForeignKey`"),
                "{error:?}"
            );
            let read = sqlx::query_as::<$db, Invoice>("SELECT * FROM invoices").fetch_all(&acme).await;
            assert!(read.unwrap_err().to_string().contains("only the repository reads a `ForeignKey`"));
            let bound = sqlx::query(insert).bind(2_i64).bind(own.clone()).execute(&acme).await;
            let error = bound.unwrap_err();
            assert!(format!("{error:?}").contains("bind its `id()` here"), "{error:?}");
            let bound = sqlx::query(insert).bind(2_i64).bind(own.id()).execute(&acme).await;
            assert_eq!(bound.unwrap().rows_affected(), 1);
            assert_eq!(Invoice::count(&acme).await.unwrap(), 2);
            assert_eq!(Invoice::count(&globex).await.unwrap(), 0);
        }
    };
}

other_apis!(on_sqlite_no_other_api_makes_a_reference, Sqlite);
other_apis!(on_postgres_no_other_api_makes_a_reference, Postgres);
