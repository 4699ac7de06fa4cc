"""What ships with the library, through the same hooks as any plugin."""
