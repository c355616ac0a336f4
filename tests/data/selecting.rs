//! Filters, orders and pages return what a model in memory returns for the tenant's own rows, and touch no other row.

use base64::Engine;
use sqlx::{Postgres, Sqlite};
use tenancy::scope::Scope;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::select::{Cursor, Filter, PageRequest, Select, Sort};
use tenancy::{ErrorKind, TenantScoped};

use crate::common::{self, Fixture, TestBackend};

#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "items")]
struct Item {
    #[tenant(id)]
    id: i64,
    name: String,
    size: i64,
    note: Option<String>,
    weight: Option<f64>,
    r#type: bool,
}

trait ItemsBackend: TestBackend + SupportsRow<Item> {
    const ITEMS: &'static str;
}

impl ItemsBackend for Sqlite {
    const ITEMS: &'static str = "CREATE TABLE items (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL,
        size INTEGER NOT NULL, note TEXT, weight REAL, type INTEGER NOT NULL, PRIMARY KEY (tenant_id, id)) STRICT";
}

impl ItemsBackend for Postgres {
    const ITEMS: &'static str = "CREATE TABLE items (tenant_id uuid NOT NULL, id bigint NOT NULL,
        name text COLLATE \"C\" NOT NULL, size bigint NOT NULL, note text COLLATE \"C\", weight float8, type bool NOT NULL,
        PRIMARY KEY (tenant_id, id))";
}

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn text(&mut self) -> String {
        ["", "a", "b", "ab", "B", "a%", "_", "' OR 1=1 --", "ä", "x"][self.index(10)].to_owned()
    }

    fn size(&mut self) -> i64 {
        i64::try_from(self.roll(5)).unwrap() - 2
    }

    fn weight(&mut self) -> f64 {
        [0.1, 1.0 / 3.0, -2.5, 1e300][self.index(4)]
    }

    fn index(&mut self, sides: u64) -> usize {
        usize::try_from(self.roll(sides)).unwrap()
    }

    fn item(&mut self, id: i64) -> Item {
        let note = (self.roll(3) > 0).then(|| self.text());
        let weight = (self.roll(3) > 0).then(|| self.weight());
        Item { id, name: self.text(), size: self.size(), note, weight, r#type: self.roll(2) == 0 }
    }
}

/// A filter, and the same filter as a closure.
type Meaning = Box<dyn Fn(&Item) -> bool>;

fn filter(dice: &mut Dice, depth: u64) -> (Filter<Item>, Meaning) {
    if depth > 0 && dice.roll(4) > 0 {
        let (one, means) = filter(dice, depth - 1);
        if dice.roll(3) == 0 {
            return (!one, Box::new(move |item| !means(item)));
        }
        let (other, also) = filter(dice, depth - 1);
        return match dice.roll(2) {
            0 => (one.and(other), Box::new(move |item| means(item) && also(item))),
            _ => (one.or(other), Box::new(move |item| means(item) || also(item))),
        };
    }
    let (text, size, weight) = (dice.text(), dice.size(), dice.weight());
    match dice.roll(16) {
        0 => (Item::NAME.eq(text.as_str()), Box::new(move |item| item.name == text)),
        1 => (Item::NAME.ne(text.as_str()), Box::new(move |item| item.name != text)),
        2 => (Item::NAME.lt(text.as_str()), Box::new(move |item| item.name < text)),
        3 => (Item::NAME.starts_with(text.as_str()), Box::new(move |item| item.name.starts_with(&text))),
        4 => (Item::NAME.contains(text.as_str()), Box::new(move |item| item.name.contains(&text))),
        5 => (Item::SIZE.gt(size), Box::new(move |item| item.size > size)),
        6 => (Item::SIZE.le(size), Box::new(move |item| item.size <= size)),
        7 => (Item::ID.ge(size * 4), Box::new(move |item| item.id >= size * 4)),
        8 => (Item::TYPE.eq(true), Box::new(|item| item.r#type)),
        9 => (Item::NOTE.eq(text.as_str()), Box::new(move |item| item.note.as_ref() == Some(&text))),
        10 => (Item::NOTE.ne(text.as_str()), Box::new(move |item| item.note.as_ref() != Some(&text))),
        11 => (Item::NOTE.is_null(), Box::new(|item| item.note.is_none())),
        12 => (Item::WEIGHT.is_not_null(), Box::new(|item| item.weight.is_some())),
        13 => (Item::WEIGHT.lt(weight), Box::new(move |item| item.weight.is_some_and(|w| w < weight))),
        14 => {
            let sizes: Vec<i64> = (0..dice.roll(4)).map(|_| dice.size()).collect();
            (Item::SIZE.is_in(sizes.clone()), Box::new(move |item| sizes.contains(&item.size)))
        }
        _ => {
            let notes: Vec<String> = (0..dice.roll(4)).map(|_| dice.text()).collect();
            (
                Item::NOTE.is_in(notes.clone()),
                Box::new(move |item| item.note.as_ref().is_some_and(|note| notes.contains(note))),
            )
        }
    }
}

/// An order, and the same order as a comparison: `None` is greater than every value.
type Ordering = Box<dyn Fn(&Item, &Item) -> std::cmp::Ordering>;

fn sort(dice: &mut Dice) -> (Sort<Item>, Ordering) {
    fn by<K: PartialOrd + 'static>(key: fn(&Item) -> Option<K>, down: bool) -> Ordering {
        Box::new(move |a, b| {
            let (a, b) = (key(a), key(b));
            let up = match (&a, &b) {
                (Some(a), Some(b)) => a.partial_cmp(b).unwrap(),
                _ => a.is_none().cmp(&b.is_none()),
            };
            if down { up.reverse() } else { up }
        })
    }
    match dice.roll(10) {
        0 => (Item::NAME.asc(), by(|item| Some(item.name.clone()), false)),
        1 => (Item::NAME.desc(), by(|item| Some(item.name.clone()), true)),
        2 => (Item::SIZE.asc(), by(|item| Some(item.size), false)),
        3 => (Item::SIZE.desc(), by(|item| Some(item.size), true)),
        4 => (Item::NOTE.asc(), by(|item| item.note.clone(), false)),
        5 => (Item::NOTE.desc(), by(|item| item.note.clone(), true)),
        6 => (Item::WEIGHT.asc(), by(|item| item.weight, false)),
        7 => (Item::WEIGHT.desc(), by(|item| item.weight, true)),
        8 => (Item::TYPE.desc(), by(|item| Some(item.r#type), true)),
        _ => (Item::ID.desc(), by(|item| Some(item.id), true)),
    }
}

/// A fixture with rows of both tenants under the same ids, and the rows of acme.
async fn seeded<DB: ItemsBackend>(dice: &mut Dice) -> (Fixture<DB>, Vec<Item>) {
    let fixture = Fixture::<DB>::new().await;
    fixture.raw(DB::ITEMS).await.unwrap();
    let mut ours = Vec::new();
    for id in -20..20 {
        let item = dice.item(id);
        Item::insert(&fixture.db.scope(&fixture.acme), &item).await.unwrap();
        Item::insert(&fixture.db.scope(&fixture.globex), &dice.item(id)).await.unwrap();
        ours.push(item);
    }
    (fixture, ours)
}

async fn every<DB: ItemsBackend>(scope: &Scope<'_, DB>, select: Select<Item>) -> Vec<Item> {
    select.all(scope, 1000).await.unwrap()
}

async fn a_filter_answers_what_it_means<DB: ItemsBackend>() {
    let dice = &mut Dice(11);
    let (fixture, ours) = seeded::<DB>(dice).await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    let theirs = every(&globex, Item::select()).await;
    let (mut some, mut all) = (0, 0);
    for round in 0..400 {
        let depth = dice.roll(5);
        let (filter, means) = filter(dice, depth);
        let wanted: Vec<Item> = ours.iter().filter(|item| means(item)).cloned().collect();
        let select = || Item::select().filter(filter.clone());
        assert_eq!(every(&acme, select()).await, wanted, "{round}: {filter:?}");
        assert_eq!(select().count(&acme).await.unwrap(), wanted.len() as u64);
        assert_eq!(select().exists(&acme).await.unwrap(), !wanted.is_empty());
        assert_eq!(select().first(&acme).await.unwrap().as_ref(), wanted.first());
        let rest = every(&acme, Item::select().filter(!filter.clone())).await;
        assert_eq!(rest.len() + wanted.len(), ours.len(), "a filter and its contrary are all rows");

        // In a transaction that is rolled back: a bulk update changes exactly the rows that the select returned.
        let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
        let sets = [Item::NOTE.set("seen".to_owned()), Item::WEIGHT.set(None), Item::SIZE.set(99)];
        assert_eq!(select().update(&mut tx, sets).await.unwrap().rows(), wanted.len() as u64);
        let seen =
            Item::select().filter(Item::SIZE.eq(99).and(Item::NOTE.eq("seen")).and(Item::WEIGHT.is_null()));
        assert_eq!(seen.delete(&mut tx).await.unwrap().rows(), wanted.len() as u64);
        assert_eq!(Item::count(&mut tx).await.unwrap(), rest.len() as u64);
        if round % 50 == 0 {
            assert_eq!(every(&globex, Item::select()).await, theirs);
        }
        tx.rollback().await.unwrap();
        some += usize::from(!wanted.is_empty());
        all += usize::from(wanted.len() == ours.len());
    }
    assert!(some > 200 && all < 100, "the filters prove too little: {some} found rows, {all} found all");
    assert_eq!(every(&globex, Item::select()).await, theirs);

    assert!(
        Item::select().filter(Item::SIZE.ge(-2)).delete(&acme).await.unwrap().rows() == ours.len() as u64
    );
    assert_eq!(Item::count(&acme).await.unwrap(), 0);
    assert_eq!(every(&globex, Item::select()).await, theirs);
}

async fn pages_in_any_order_hold_each_row_once<DB: ItemsBackend>() {
    let dice = &mut Dice(5);
    let (fixture, ours) = seeded::<DB>(dice).await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    let all_theirs = every(&globex, Item::select()).await;
    let mut pages = 0;
    for _ in 0..60 {
        let (mut select, mut wanted) = (Item::select(), ours.clone());
        let sorts: Vec<_> = (0..dice.roll(4)).map(|_| sort(dice)).collect();
        if dice.roll(2) == 0 {
            let (filter, means) = filter(dice, 1);
            wanted.retain(|item| means(item));
            select = select.filter(filter);
        }
        wanted.sort_by(|a, b| {
            let by = sorts.iter().map(|(_, meaning)| meaning(a, b));
            by.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).then(a.id.cmp(&b.id))
        });
        let describe = format!("{:?}", sorts.iter().map(|(sort, _)| sort).collect::<Vec<_>>());
        let select = sorts.into_iter().fold(select, |select, (sort, _)| select.order_by(sort));
        let select = || select.clone();
        let limit = u16::try_from(1 + dice.roll(12)).unwrap();
        let (mut seen, mut page) = (Vec::new(), PageRequest::first(limit));
        loop {
            let listing = select().page(&acme, page).await.unwrap();
            assert!(listing.items.len() <= usize::from(limit));
            seen.extend(listing.items);
            pages += 1;
            let Some(next) = listing.next else { break };
            // The cursor survives a URL.
            let text = next.to_string();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
            assert!(!text.contains(&common::id_text(fixture.acme.tenant_id())));
            let json = serde_json::to_string(&next).unwrap();
            assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), next);
            let next: Cursor = text.parse().unwrap();
            // The cursor carries no authority: another tenant reads its own rows with it.
            let theirs = select().page(&globex, PageRequest::after(next.clone(), 1000)).await.unwrap();
            assert!(theirs.items.iter().all(|item| all_theirs.contains(item)));
            page = PageRequest::after(next, limit);
        }
        assert_eq!(seen, wanted, "{describe} in pages of {limit}");
        assert_eq!(every(&acme, select()).await, wanted);
    }
    assert!(pages > 200, "only {pages} pages");
}

async fn a_cursor_serves_its_own_order_only<DB: ItemsBackend>() {
    let (fixture, _) = seeded::<DB>(&mut Dice(3)).await;
    let acme = fixture.db.scope(&fixture.acme);
    let by_size = || Item::select().order_by(Item::SIZE.asc());
    let cursor = by_size().page(&acme, PageRequest::first(3)).await.unwrap().next.unwrap();
    let after = |cursor: &Cursor| PageRequest::after(cursor.clone(), 3);
    assert!(by_size().page(&acme, after(&cursor)).await.is_ok());
    for other in [
        Item::select(),
        Item::select().order_by(Item::SIZE.desc()),
        Item::select().order_by(Item::NOTE.asc()),
        by_size().order_by(Item::NAME.asc()),
    ] {
        let error = other.page(&acme, after(&cursor)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with("this cursor belongs to another table"), "{error}");
    }

    // Malformed cursors, and cursors with values of other columns.
    let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let json = String::from_utf8(base64.decode(cursor.to_string()).unwrap()).unwrap();
    let order = &json[..json.find(",[").unwrap()];
    for keys in ["[]", "[1]", "[1,2,3]", "[null,2]", "[1,null]", "[\"1\",2]", "[1.5,2]", "[[1],2]"] {
        let broken: Cursor = base64.encode(format!("{order},{keys}]")).parse().unwrap();
        let error = by_size().page(&acme, after(&broken)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{keys}");
        assert!(error.to_string().starts_with("this cursor does not read"), "{error}");
    }
    let texts = ["", "x", "AAAA", "e30", &cursor.to_string()[1..], &json];
    for text in texts {
        assert_eq!(text.parse::<Cursor>().unwrap_err().kind(), ErrorKind::InvalidInput, "{text}");
    }
}

async fn an_impossible_query_is_rejected_by_name<DB: ItemsBackend>() {
    let (fixture, ours) = seeded::<DB>(&mut Dice(9)).await;
    let acme = fixture.db.scope(&fixture.acme);
    let refused = |error: tenancy::Error, word: &str| {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(word), "{error}");
    };
    for limit in [0, 1001] {
        refused(Item::select().page(&acme, PageRequest::first(limit)).await.unwrap_err(), "1 to 1000");
        refused(Item::select().all(&acme, limit).await.unwrap_err(), "1 to 1000");
    }
    refused(Item::select().all(&acme, 39).await.unwrap_err(), "read them in pages");
    assert_eq!(Item::select().all(&acme, 40).await.unwrap().len(), 40);
    refused(Item::select().update(&acme, []).await.unwrap_err(), "nothing to set");
    refused(Item::select().update(&acme, [Item::ID.set(7)]).await.unwrap_err(), "cannot be changed");
    let twice = [Item::SIZE.set(7), Item::SIZE.set(8)];
    refused(Item::select().update(&acme, twice).await.unwrap_err(), "set twice");

    // The largest filter, and one condition more; nested equally deep.
    let deep = |conditions: usize| {
        (1..conditions).fold(Item::SIZE.eq(-100), |filter, n| {
            if n % 2 == 0 { filter.and(Item::ID.ge(-100)) } else { !filter.or(Item::SIZE.eq(100)) }
        })
    };
    assert!(Item::select().filter(deep(500)).count(&acme).await.is_ok());
    refused(Item::select().filter(deep(501)).count(&acme).await.unwrap_err(), "at most 500");
    let many = |values: i64| Item::select().filter(Item::ID.is_in(0..values));
    assert_eq!(many(30_000).count(&acme).await.unwrap(), 20);
    refused(many(70_000).count(&acme).await.unwrap_err(), "ask for less");
    assert_eq!(every(&acme, Item::select()).await, ours);
}

in_every_placement!(
    a_filter_answers_what_it_means,
    pages_in_any_order_hold_each_row_once,
    a_cursor_serves_its_own_order_only,
    an_impossible_query_is_rejected_by_name,
);
