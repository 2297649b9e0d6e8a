mod with_tshark;
