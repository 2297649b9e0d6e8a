mod statistics;
mod with_tshark;
