//! lb-maps
