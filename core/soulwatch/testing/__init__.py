"""For plugin authors: what a connector can be tested against without a platform, a server or a wait."""
