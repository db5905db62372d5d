"""What several rooms' tests stand on: roots of their own, the search for what they leave behind, peers."""
