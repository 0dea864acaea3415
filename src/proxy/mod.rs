//! The client side, sans-io: command -> groups -> multicast -> first response -> retry. Layer 3.
