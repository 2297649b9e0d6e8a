mod captured;
mod codec;
mod harness;
mod pair;
mod reception;
mod table;
mod timers;
