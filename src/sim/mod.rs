//! The simulator: the same types under a seeded scheduler. Layer 4.
