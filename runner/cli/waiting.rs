//! A sign of life while a verb waits for Docker: what is awaited and for how long, gone when it is over.
//!
//! On a terminal only, on stderr; indicatif hides it elsewhere. What a run shows is [`crate::view`]'s, which must not
//! take anything from the load's cores; here nothing is measured.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often it turns.
const TICK: Duration = Duration::from_millis(120);

/// Shown from its making until it is dropped.
pub struct Waiting(ProgressBar);

impl Waiting {
    /// Waits for `what`, as in "starting the lab".
    pub fn during(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is valid"),
        );
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
