mod with_bird;
mod with_others;
