//! Addresses for pods, from the blocks of a node; and blocks for nodes, from a pool.
//!
//! Pure: the node's daemon keeps an [`Allocator`] and stores it, the controllers ask
//! [`next_free_block`].

mod allocator;
mod block;

pub use allocator::{AllocateError, Allocator, BlockUsage, Owner, StateError};
pub use block::{BlockError, block_capacity, next_free_block};
