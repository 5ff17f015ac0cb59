// Package lmtp is the client side of LMTP, and of SMTP for protocol=smtp targets: one connection to one
// backend for one mail transaction. It opens the connection, forwards the client's identity by XCLIENT,
// sends MAIL and RCPT, streams the message by DATA or BDAT and reads one reply for each recipient. LMTP has
// no login, so there is no Handshake here: login/lmtp drives a Conn itself. Imports backend and wire.
package lmtp
