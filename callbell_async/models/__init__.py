"""What is sent and what comes back: frozen attrs classes that know neither JSON nor the client."""
