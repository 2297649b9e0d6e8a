//! control-scheduler
