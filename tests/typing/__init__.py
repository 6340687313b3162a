"""What a type checker should see; nothing here runs."""
