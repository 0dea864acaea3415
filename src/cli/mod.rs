//! The command line, one file a subcommand. Layer 6.
