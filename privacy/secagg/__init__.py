"""Secure sums: who receives the sum of a cohort's vectors learns nothing else of them."""
