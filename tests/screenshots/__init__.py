"""Pictures of the real app on real containers, for the README and for those who change the app."""
