"""GGUF files made into folders that `from_pretrained` loads."""
