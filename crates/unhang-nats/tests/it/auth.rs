//! Permissions: dist/nats-server.conf, keys, TLS.

mod conf;
mod tls;
