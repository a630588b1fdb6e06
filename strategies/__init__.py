"""How the clients' updates become one model."""
