mod with_bird;
