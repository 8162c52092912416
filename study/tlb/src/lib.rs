//! A model of translation caches.
