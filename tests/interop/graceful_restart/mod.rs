mod between_us;
mod with_bird;
