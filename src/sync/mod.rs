//! What crosses threads: SPSC queues, the rendezvous of synchronous mode, waiting. Layer 0.
