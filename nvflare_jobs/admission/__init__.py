"""Whether a site runs a job: everything that is known before an image of it is decoded."""
