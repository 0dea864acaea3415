//! Workloads, load generation, measurement and reports. Layer 5.
