//! Bars of progress on standard error, which are hidden if that is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that counts bytes, of a number that is known or not.
pub(crate) fn byte_bar(bytes: Option<u64>) -> ProgressBar {
    bar(
        bytes,
        match bytes {
            Some(_) => "{spinner} [{bar:30}] {bytes} of {total_bytes}",
            None => "{spinner} {bytes} ({bytes_per_sec})",
        },
    )
}

/// A bar of this template.
pub(crate) fn bar(total: Option<u64>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(100));
    }
    bar
}
