"""What students may try, row by row: `table` names each attack and the tests that make it."""
