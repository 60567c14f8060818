"""What feeds the topic: the NautilusTrader producer and the exchange replay server that can stand in for Binance."""
