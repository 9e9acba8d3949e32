//! Permissions: dist/nats-server.conf, keys, TLS.

mod conf;
mod jwt;
mod tls;
