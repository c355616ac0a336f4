//! What the database itself does to keep tenants apart, and whether it does.
//!
//! [`doctor`] examines a live PostgreSQL as the application's own role, through a connection of its own.

pub mod doctor;
