"""What everything else stands on: errors, files, hashing, numbers and text that is safe to show."""
