//! The options of `tenancy stripe`.

use clap::Args;

use super::control::Control;
use super::stripe_settings::{ModeOption, Settings};

#[derive(Args)]
pub(crate) struct Replay {
    /// The ids of the events.
    #[arg(value_name = "EVENT", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) events: Vec<String>,
    /// Every event of the quarantine.
    #[arg(long)]
    pub(crate) all: bool,
    /// The connected account that the events happened in.
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "all")]
    pub(crate) account: Option<String>,
    /// Whether the events are of live mode or of test mode. Those of the other mode stay.
    #[arg(long, value_enum, default_value = "live")]
    pub(crate) mode: ModeOption,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) control: Control,
}

#[derive(Args)]
pub(crate) struct Discard {
    /// The ids of the events.
    #[arg(value_name = "EVENT", required = true)]
    pub(crate) events: Vec<String>,
    /// The connected account that the events happened in.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<String>,
    /// Do not ask for a confirmation.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) control: Control,
}

#[derive(Args)]
pub(crate) struct Reconcile {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) control: Control,
}
