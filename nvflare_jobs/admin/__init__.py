"""A person's side of a federation: handing in jobs, watching them, taking what they leave."""
