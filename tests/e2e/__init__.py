"""The product on real parts: a real Prometheus in, a real control plane out, under the rights of deploy/ and no others."""
