"""What several tests use: tiny models, exact problems, slow references, laws."""
