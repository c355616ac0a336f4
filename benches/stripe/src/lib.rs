//! Nothing: the package has only a bench.
