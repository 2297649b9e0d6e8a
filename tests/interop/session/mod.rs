mod shells;
mod with_bird;
