//! This program: its version, and the sources that it was built from. A seed or a figure without
//! them says nothing.

/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit of its sources, with `-dirty` if they had been changed since; `unknown` if they came
/// without their history.
pub const COMMIT: &str = env!("PSMR_COMMIT");
/// Both, as `psmr --version` tells them.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("PSMR_COMMIT"), ")");
