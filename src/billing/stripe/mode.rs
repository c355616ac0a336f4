//! [`Mode`] and [`Accounts`]: which events of Stripe are used.

/// The Stripe mode that this program runs in. Events of the other mode are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "`livemode` is true or false")]
pub enum Mode {
    /// Test mode and sandboxes.
    Test,
    /// Live mode: real money.
    Live,
}

/// The Stripe accounts whose events are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accounts {
    /// Your own account only.
    Own,
    /// Your own account and connected accounts.
    ///
    /// # Security
    /// The owner of a connected account writes its metadata, and so can name any tenant in it.
    Connected,
}
