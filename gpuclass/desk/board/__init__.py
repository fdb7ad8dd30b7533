"""The board: one tile for each student, who needs help first, on every teacher's and mentor's screen at once."""
