"""What a privacy officer reads: the ledger as facts, as sentences and as one offline page."""
