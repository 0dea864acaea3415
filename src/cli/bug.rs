//! `--bug NAME`: a planted bug for the whole process.

use crate::types::Bug;

/// The one list of planted bugs, for the help and for the error.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    Bug::ALL.iter().map(|bug| bug.name())
}

/// Plants the bug called `name`, one of [`names`], if there is to be one.
///
/// # Errors
/// If this build has none.
pub(super) fn plant(name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    let bug = Bug::from_name(name).expect("one of the possible values");
    if Bug::plant(Some(bug)) {
        return Ok(());
    }
    Err(format!(
        "--bug {name}: this build has no planted bugs: build it with --features planted-bugs"
    ))
}
