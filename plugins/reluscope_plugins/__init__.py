"""The built-in plugins: they use only what a third party could."""
