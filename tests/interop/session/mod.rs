mod shells;
mod with_bird;
mod with_frr;
mod with_others;
