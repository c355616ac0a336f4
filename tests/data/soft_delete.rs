//! Only its own tenant marks, restores and purges a soft-deleted row, and reads skip the row.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sqlx::{Postgres, Sqlite};
use tenancy::scope::Scope;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::select::PageRequest;
use tenancy::{ErrorKind, TenantScoped};

use crate::common::{Fixture, TestBackend};

/// Microseconds since the epoch; `chrono::DateTime` and `time::OffsetDateTime` also work.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, sqlx::Type, Serialize, Deserialize)]
#[sqlx(transparent)]
struct Moment(i64);

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        Self(i64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap())
    }
}

#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: i64,
    #[tenant(soft_delete)]
    deleted_at: Option<Moment>,
    text: String,
}

trait Notes: TestBackend + SupportsRow<Note> {
    const TENANT: &'static str;
}

impl Notes for Sqlite {
    const TENANT: &'static str = "BLOB";
}

impl Notes for Postgres {
    const TENANT: &'static str = "uuid";
}

fn note(id: i64, text: &str) -> Note {
    Note { id, deleted_at: None, text: text.to_owned() }
}

/// Both tenants have the notes 1 to 4; acme has deleted note 2, and globex note 3.
async fn seeded<DB: Notes>() -> Fixture<DB> {
    let fixture = Fixture::<DB>::new().await;
    let sql = format!(
        "CREATE TABLE notes (tenant_id {} NOT NULL, id bigint NOT NULL, deleted_at bigint, text text NOT NULL,
         PRIMARY KEY (tenant_id, id))",
        DB::TENANT
    );
    fixture.raw(&sql).await.unwrap();
    for (ctx, deleted) in [(&fixture.acme, 2), (&fixture.globex, 3)] {
        let scope = fixture.db.scope(ctx);
        let owner = ctx.tenant().slug().as_str();
        Note::insert_many(&scope, &[1, 2, 3, 4].map(|id| note(id, owner))).await.unwrap();
        assert!(Note::delete(&scope, deleted).await.unwrap().found());
    }
    fixture
}

async fn ids<DB: Notes>(scope: &Scope<'_, DB>) -> [Vec<i64>; 3] {
    let mut answers = Vec::new();
    for select in [Note::select(), Note::select().with_deleted(), Note::select().only_deleted()] {
        let notes = select.clone().all(scope, 10).await.unwrap();
        assert_eq!(select.count(scope).await.unwrap(), notes.len() as u64);
        assert!(notes.iter().all(|note| note.text == scope.context().tenant().slug().as_str()));
        answers.push(notes.iter().map(|note| note.id).collect());
    }
    answers.try_into().unwrap()
}

async fn a_deleted_row_looks_like_a_missing_one<DB: Notes>() {
    let fixture = seeded::<DB>().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    let theirs = ids(&globex).await;
    assert_eq!(ids(&acme).await, [vec![1, 3, 4], vec![1, 2, 3, 4], vec![2]]);
    assert_eq!(theirs, [vec![1, 2, 4], vec![1, 2, 3, 4], vec![3]]);

    assert_eq!(Note::find(&acme, 2).await.unwrap(), None);
    assert!(!Note::exists(&acme, 2).await.unwrap());
    assert_eq!(Note::count(&acme).await.unwrap(), 3);
    let listed = Note::list(&acme, PageRequest::first(10)).await.unwrap().items;
    assert_eq!(listed.iter().map(|note| note.id).collect::<Vec<_>>(), [1, 3, 4]);
    let after = Note::list(&acme, PageRequest::after(1, 10)).await.unwrap().items;
    assert_eq!(after.iter().map(|note| note.id).collect::<Vec<_>>(), [3, 4]);
    assert!(!Note::update(&acme, &note(2, "changed")).await.unwrap().found());
    assert!(!Note::delete(&acme, 2).await.unwrap().found());
    let set = || [Note::TEXT.set("acme")];
    assert_eq!(Note::select().update(&acme, set()).await.unwrap().rows(), 3);
    assert_eq!(Note::select().with_deleted().update(&acme, set()).await.unwrap().rows(), 4);

    // The id of a soft-deleted row stays in use.
    for error in [Note::insert(&acme, &note(2, "new")).await, Note::upsert(&acme, &note(2, "new")).await] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert_eq!(ids(&acme).await, [vec![1, 3, 4], vec![1, 2, 3, 4], vec![2]]);
    assert_eq!(ids(&globex).await, theirs);
}

async fn the_mark_is_the_time_and_is_set_once<DB: Notes>() {
    let before = Moment::from(SystemTime::now());
    let fixture = seeded::<DB>().await;
    let after = Moment::from(SystemTime::now());
    let acme = fixture.db.scope(&fixture.acme);
    let gone = |time| {
        Note::select().only_deleted().filter(Note::DELETED_AT.ge(before).and(Note::DELETED_AT.le(time)))
    };
    assert_eq!(gone(after).count(&acme).await.unwrap(), 1);
    let marked = Note::select().only_deleted().first(&acme).await.unwrap();
    for select in [Note::select().with_deleted(), Note::select().only_deleted()] {
        assert!(!select.filter(Note::ID.eq(2)).delete(&acme).await.unwrap().found());
        assert_eq!(Note::select().only_deleted().first(&acme).await.unwrap(), marked);
    }
    assert_eq!(Note::select().delete(&acme).await.unwrap().rows(), 3);
    assert_eq!(ids(&acme).await, [vec![], vec![1, 2, 3, 4], vec![1, 2, 3, 4]]);
    assert_eq!(Note::count(&fixture.db.scope(&fixture.globex)).await.unwrap(), 3);
    let page = || Note::select().only_deleted().order_by(Note::DELETED_AT.desc());
    let first = page().page(&acme, PageRequest::first(3)).await.unwrap();
    let rest = page().page(&acme, PageRequest::after(first.next.unwrap(), 3)).await.unwrap();
    assert_eq!((rest.items, rest.next), (vec![marked.unwrap()], None));
}

async fn a_deleted_row_is_restored_or_purged<DB: Notes>() {
    let fixture = seeded::<DB>().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    let theirs = Note::select().with_deleted().all(&globex, 10).await.unwrap();
    assert!(!Note::restore(&acme, 1).await.unwrap().found(), "it is not deleted");
    assert!(!Note::restore(&acme, 3).await.unwrap().found(), "globex has deleted its own");
    assert!(Note::restore(&acme, 2).await.unwrap().found());
    assert_eq!(Note::find(&acme, 2).await.unwrap(), Some(note(2, "acme")));
    assert_eq!(ids(&acme).await, [vec![1, 2, 3, 4], vec![1, 2, 3, 4], vec![]]);

    assert!(Note::delete(&acme, 2).await.unwrap().found());
    assert!(Note::purge(&acme, 2).await.unwrap().found());
    assert!(!Note::purge(&acme, 2).await.unwrap().found());
    assert!(Note::purge(&acme, 3).await.unwrap().found(), "also what is not deleted");
    assert_eq!(ids(&acme).await, [vec![1, 4], vec![1, 4], vec![]]);
    assert!(Note::delete(&acme, 4).await.unwrap().found());
    assert_eq!(Note::select().only_deleted().purge(&acme).await.unwrap().rows(), 1);
    assert_eq!(Note::select().with_deleted().restore(&acme).await.unwrap().rows(), 0);
    assert_eq!(Note::select().with_deleted().purge(&acme).await.unwrap().rows(), 1);
    Note::upsert(&acme, &note(2, "acme")).await.unwrap();
    assert_eq!(ids(&acme).await, [vec![2], vec![2], vec![]]);

    assert_eq!(Note::select().with_deleted().all(&globex, 10).await.unwrap(), theirs);
}

in_every_placement!(
    a_deleted_row_looks_like_a_missing_one,
    the_mark_is_the_time_and_is_set_once,
    a_deleted_row_is_restored_or_purged,
);
