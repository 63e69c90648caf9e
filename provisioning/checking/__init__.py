"""What a kit allows, file by file; what its machine can do is preflight's."""
