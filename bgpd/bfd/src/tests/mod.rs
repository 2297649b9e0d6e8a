mod captured;
mod codec;
mod handover;
mod harness;
mod pair;
mod reception;
mod table;
mod timers;
