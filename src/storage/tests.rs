//! Logs on disks that tear, rot and fail; data directories of others.

mod directories;
mod images;
mod model;
