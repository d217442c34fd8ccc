"""The foundation of all other folders: errors, files, hashing, numbers and safe text output."""
