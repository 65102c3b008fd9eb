//! One binary of integration tests, so that it links once. One promise a test, named as a sentence.

mod bad_input;
mod build;
mod care;
mod changes;
mod commit;
mod endurance;
mod evolution;
mod exactly_once;
mod formats;
mod load;
mod mistakes;
mod operations;
mod outside;
mod policies;
mod registry;
mod replay;
mod rooms;
mod scd2;
mod security;
mod shell;
mod shop;
mod strategies;
mod topics;
mod trouble;
mod verbs;
mod world;
