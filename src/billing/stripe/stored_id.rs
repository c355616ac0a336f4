//! The ids under which objects are stored: Stripe's own, and in a connected account `account/id`.

/// The id under which an object is stored.
pub(super) fn stored_id(id: &str, account: Option<&str>) -> String {
    account.map_or_else(|| id.to_owned(), |account| format!("{account}/{id}"))
}

/// The connected account of a stored id, and the id in Stripe.
pub(super) fn split(stored: &str) -> (Option<&str>, &str) {
    stored.split_once('/').map_or((None, stored), |(account, id)| (Some(account), id))
}

/// Whether a stored id is of your own account. A customer of a connected account cannot pay to this one.
pub(super) fn is_own(stored: &str) -> bool {
    split(stored).0.is_none()
}
