"""The live page: what is seen, decided and done, tick by tick; read-only but for the demo's controls."""
