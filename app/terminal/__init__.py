"""Reports on the terminal: `context8 report` and `context8 watch`, from any Redis or any reader."""
