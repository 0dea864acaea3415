//! Multi-Ring Paxos: slots, deterministic merge, skips. Layer 1 (PROTOCOL 2).
