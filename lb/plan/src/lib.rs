//! lb-plan
