"""Access to Kafka and Redis: secrets, TLS, SASL, and what a refusal means.

`secret` holds what must not be seen; `tls` makes contexts and explains handshakes that failed; `kafka` and `redis` are
the only places where the options of a client are made, and can tell a refusal, which no retry mends, from absence.
"""
