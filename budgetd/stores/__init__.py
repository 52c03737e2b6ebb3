"""Where the state is kept: one file for each kind of database, and what SQLite needs beside it."""
