pub(crate) mod files;
mod with_tools;
