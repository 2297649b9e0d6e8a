mod station;
mod statistics;
mod with_tshark;
