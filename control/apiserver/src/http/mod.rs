//! What a request asks for and how it is answered, as far as HTTP goes.

pub(crate) mod body;
pub(crate) mod negotiate;
pub(crate) mod query;
pub(crate) mod respond;
pub(crate) mod target;

pub(crate) use body::{Body, Media};
pub(crate) use negotiate::Output;
pub(crate) use query::Query;
pub(crate) use target::{ResourcePath, Target};

pub(crate) type Response = hyper::Response<Body>;
