//! What an operator asks, and how soon it is answered.

mod events;
mod under_load;
