"""What a plugin adds to scores and to reports."""
