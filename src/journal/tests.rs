//! The journal as a whole.

mod commits;
mod following;
mod model;
mod recovery;
mod vigil;
