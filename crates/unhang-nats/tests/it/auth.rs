//! Who may what: dist/nats-server.conf, keys, TLS.

mod conf;
mod tls;
