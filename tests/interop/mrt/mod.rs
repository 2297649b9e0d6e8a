mod with_tools;
