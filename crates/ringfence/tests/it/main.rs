//! The program from outside: what it prints, how it ends, and that it leaves nothing behind.

mod accounting;
mod configuration;
mod doctor;
mod help;
mod hosts;
mod planning;
mod program;
mod restarting;
mod running;
mod schema;
mod serving;
mod status;
mod tables;
mod verdicts;
