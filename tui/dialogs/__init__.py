"""The questions that the app asks: modal screens, usable by keys alone at 80x24; Esc always answers None."""
