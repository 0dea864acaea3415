//! The machine: topology, pinned threads, clock. Layer 2.
