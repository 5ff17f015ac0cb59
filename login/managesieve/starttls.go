package managesieve

// startTLS answers STARTTLS. Nothing that was read before the handshake is run, and the list is sent anew
// after it (RFC 5804 section 2.2).
func (f *front) startTLS([]arg) (bool, error) {
	switch {
	case f.c.TLS():
		f.reply("NO", "TLS is already active.")
		return false, nil
	case !f.c.Terms().OfferTLS:
		f.reply("NO", "TLS support isn't enabled.")
		return false, nil
	}
	f.reply("OK", "Begin TLS negotiation now.")
	if err := f.c.StartTLS(); err != nil {
		return false, err
	}
	f.capabilities("TLS negotiation successful.")
	return false, nil
}
