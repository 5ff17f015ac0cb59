package imap

// startTLS answers STARTTLS. Nothing that was read before the handshake is run.
func (f *front) startTLS(args) (bool, error) {
	switch {
	case f.c.TLS():
		f.reply("BAD TLS is already active.")
		return false, nil
	case !f.c.Terms().OfferTLS:
		f.reply("BAD TLS support isn't enabled.")
		return false, nil
	}
	f.reply("OK Begin TLS negotiation now.")
	f.startedTLS = true
	if !f.c.Trusted() {
		f.c.SetClientID("") // it came in clear text
	}
	return false, f.c.StartTLS()
}
