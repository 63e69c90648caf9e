"""Differential privacy, secure sums, the epsilon ledger and the audits that wrap the trainers."""
