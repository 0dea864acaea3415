//! Agents on pinned threads, and the launch of whole clusters. Layer 4.
