//! One binary of integration tests, so that it links once. One promise a test, named as a sentence.

mod exactly_once;
mod outside;
mod policies;
mod world;
