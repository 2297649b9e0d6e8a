mod between_us;
mod with_bird;
mod with_others;
