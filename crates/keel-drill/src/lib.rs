//! keel-drill
