"""What a site's own FLARE is built with, from the files of its kit; no job can name any of it."""
