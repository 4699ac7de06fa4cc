"""Models for others: pushed to the Hub, with a card."""
