package submission

// startTLS answers STARTTLS. Nothing that was read before the handshake is run, and the client's name is
// forgotten (RFC 3207 section 4.2).
func (f *front) startTLS(args string) (bool, error) {
	switch {
	case f.c.TLS():
		return false, f.reply("502 5.5.1 TLS is already active.")
	case !f.c.Terms().OfferTLS:
		return false, f.reply("502 5.5.1 TLS support is not enabled.")
	case args != "":
		return false, f.reply("501 5.5.4 Invalid parameters")
	}
	if err := f.reply("220 2.0.0 Begin TLS negotiation now."); err != nil {
		return false, err
	}
	f.helo, f.old = "", false
	return false, f.c.StartTLS()
}
