//! What the engine is held to.
