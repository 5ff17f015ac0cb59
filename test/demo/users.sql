CREATE TABLE users (
  user TEXT NOT NULL PRIMARY KEY,
  password TEXT NOT NULL,
  host TEXT NOT NULL,
  imap_port INTEGER NOT NULL,
  pop3_port INTEGER NOT NULL
);
INSERT INTO users VALUES ('alice', '{PLAIN}wonderland', '127.0.0.1', @IMAP1@, @POP31@);
INSERT INTO users VALUES ('bob', '{PLAIN}builder', '127.0.0.1', @IMAP2@, @POP32@);
